// The page of running batches: asks /v1/batches every two seconds while it is seen, with the reader's key.
const WORDS = {
  en: {
    title: "Batches", key: "Your key", batch: "Batch", state: "State", done: "Done", failed: "Failed",
    tokens: "Tokens", began: "Begun", cancel: "Cancel", output: "Output", errors: "Errors",
    sure: "Cancel this batch? What was answered is kept.", none: "There are no batches yet.",
    asking: "Asking…", unauthorized: "Give the key with which the batches were made.",
    unreachable: "The gateway does not answer. Trying again.", shown: (count) => `${count} shown, the newest first.`,
    states: { validating: "checking", in_progress: "running", finalizing: "writing", completed: "completed",
      failed: "failed", expired: "expired", cancelling: "being cancelled", cancelled: "cancelled" },
  },
  zh: {
    title: "批处理", key: "您的密钥", batch: "批处理", state: "状态", done: "进度", failed: "失败",
    tokens: "token 数", began: "开始时间", cancel: "取消", output: "输出", errors: "错误",
    sure: "确定取消这个批处理吗？已得到的回答会保留。", none: "还没有批处理。",
    asking: "正在查询…", unauthorized: "请填写创建这些批处理所用的密钥。",
    unreachable: "网关没有响应，正在重试。", shown: (count) => `共显示 ${count} 个，最新的在前。`,
    states: { validating: "正在检查", in_progress: "运行中", finalizing: "正在写入", completed: "已完成",
      failed: "失败", expired: "已过期", cancelling: "正在取消", cancelled: "已取消" },
  },
};
const language = document.documentElement.lang === "zh" ? "zh" : "en";
const words = WORDS[language];
const rows = document.getElementById("rows");
const said = document.getElementById("said");
const key = document.getElementById("key");
const EVERY_MS = 2000;
let timer = 0;
let asked = 0;

for (const each of document.querySelectorAll("[data-word]")) each.textContent = words[each.dataset.word];
document.title = `${words.title} · Stanchion`;

function headers() {
  return key.value.trim() ? { authorization: `Bearer ${key.value.trim()}` } : {};
}

function say(text, bad = false) {
  if (said.textContent !== text) said.textContent = text;
  said.classList.toggle("bad", bad);
}

function made(name, text = "", kind = "") {
  const element = document.createElement(name);
  element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

function button(text, does) {
  const element = made("button", text);
  element.type = "button";
  element.addEventListener("click", does);
  return element;
}

async function download(file, name) {
  const answer = await fetch(`/v1/files/${encodeURIComponent(file)}/content`, { headers: headers() });
  if (!answer.ok) return say(await words_of(answer), true);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

async function words_of(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `HTTP ${answer.status}`;
  }
}

async function cancel(batch) {
  if (!confirm(words.sure)) return;
  const path = `/v1/batches/${encodeURIComponent(batch.id)}/cancel`;
  const answer = await fetch(path, { method: "POST", headers: headers() });
  if (!answer.ok) say(await words_of(answer), true);
  look();
}

function number(label, value) {
  const cell = made("td", value.toLocaleString(language), "number");
  cell.dataset.label = label;
  return cell;
}

function row_of(batch) {
  const row = document.createElement("tr");
  const counts = batch.request_counts;
  const over = counts.completed + counts.failed;
  const name = made("td", batch.id, "name");
  const faults = batch.errors?.data ?? [];
  const about = faults.length ? `${faults[0].line ? `#${faults[0].line}: ` : ""}${faults[0].message}` : batch.endpoint;
  name.append(made("small", about));
  const done = document.createElement("td");
  const bar = document.createElement("progress");
  bar.max = Math.max(counts.total, 1);
  bar.value = over;
  bar.setAttribute("aria-label", words.done);
  const inside = made("div", "", "done");
  inside.append(bar, made("span", `${over.toLocaleString(language)} / ${counts.total.toLocaleString(language)}`));
  done.append(inside);
  const does = made("td", "", "does");
  if (["validating", "in_progress"].includes(batch.status)) does.append(button(words.cancel, () => cancel(batch)));
  if (batch.output_file_id) {
    does.append(button(words.output, () => download(batch.output_file_id, `${batch.id}_output.jsonl`)));
  }
  if (batch.error_file_id) {
    does.append(button(words.errors, () => download(batch.error_file_id, `${batch.id}_error.jsonl`)));
  }
  row.append(
    name,
    made("td", words.states[batch.status] ?? batch.status, `state-${batch.status}`),
    done,
    number(words.failed, counts.failed),
    number(words.tokens, batch.usage?.total_tokens ?? 0),
    made("td", new Date(batch.created_at * 1000).toLocaleString(language)),
    does,
  );
  row.dataset.shown = JSON.stringify(batch);
  return row;
}

function show(batches) {
  const focused = document.activeElement instanceof HTMLButtonElement;
  const shown = new Map([...rows.children].map((row) => [row.dataset.name, row]));
  rows.replaceChildren(
    ...batches.map((batch) => {
      const before = shown.get(batch.id);
      if (before && (focused && before.contains(document.activeElement) || before.dataset.shown === JSON.stringify(batch))) {
        return before;
      }
      const row = row_of(batch);
      row.dataset.name = batch.id;
      return row;
    }),
  );
  say(batches.length ? words.shown(batches.length) : words.none);
}

async function look() {
  clearTimeout(timer);
  const mine = ++asked;
  try {
    const answer = await fetch("/v1/batches?limit=50", { headers: headers(), cache: "no-store" });
    if (mine !== asked) return;
    if (answer.ok) {
      show((await answer.json()).data);
    } else {
      rows.replaceChildren();
      say(answer.status === 401 ? words.unauthorized : await words_of(answer), true);
    }
  } catch {
    if (mine === asked) say(words.unreachable, true);
  }
  if (!document.hidden) timer = setTimeout(look, EVERY_MS);
}

key.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(look, 300);
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) look();
});
say(words.asking);
look();
