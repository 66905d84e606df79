"""Make a language model of random weights in a GGUF file: a real file for a real server, and no download.

    python tiny_model.py FILE.gguf

Needs the packages `gguf` and `numpy`.  The model writes nonsense; what counts is that a server which
nobody here wrote serves it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gguf  # pyright: ignore[reportMissingImports] - of the other environment
import numpy as np  # pyright: ignore[reportMissingImports]

WIDTH, LAYERS, HEADS, HIDDEN, CONTEXT = 64, 2, 4, 128, 512
WORDS = ("▁the", "▁order", "▁is", "▁on", "▁its", "▁way", "▁your", "▁parcel", "▁thank", "▁you", "订单", "您好")


def vocabulary() -> tuple[list[bytes], list[float], list[int]]:
    """Return tokens, scores and types of a SentencePiece vocabulary: controls, all bytes, a few words."""
    kinds = gguf.TokenType
    tokens = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256))]
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL, *[kinds.BYTE] * 256, *[kinds.NORMAL] * len(WORDS)]
    tokens.extend(word.encode() for word in WORDS)
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(WORDS))]
    return tokens, scores, [int(kind) for kind in types]


def write(file: Path) -> None:
    """Write the model."""
    tokens, scores, types = vocabulary()
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_name("tiny-random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    chance = np.random.default_rng(7)

    def random(name: str, *shape: int) -> None:
        writer.add_tensor(name, chance.normal(0, 0.2, shape).astype(np.float32))

    random("token_embd.weight", len(tokens), WIDTH)
    random("output.weight", len(tokens), WIDTH)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(LAYERS):
        at = f"blk.{layer}."
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{at}{name}.weight", np.ones(WIDTH, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            random(f"{at}{name}.weight", WIDTH, WIDTH)
        random(f"{at}ffn_gate.weight", HIDDEN, WIDTH)
        random(f"{at}ffn_up.weight", HIDDEN, WIDTH)
        random(f"{at}ffn_down.weight", WIDTH, HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
