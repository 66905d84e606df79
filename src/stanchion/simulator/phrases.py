"""The phrases replies are built from: a support desk's, in English and Chinese."""

from __future__ import annotations

from dataclasses import dataclass

TOPIC = "{topic}"


@dataclass(frozen=True, slots=True)
class Subject:
    """Something customers write about: the words that give it away and the steps that help."""

    words: tuple[str, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Language:
    """All phrases of one language."""

    greetings: tuple[str, ...]
    echoes: tuple[str, ...]
    lead_ins: tuple[str, ...]
    asides: tuple[str, ...]
    closings: tuple[str, ...]
    hello: tuple[str, ...]
    found: tuple[str, ...]
    subjects: tuple[Subject, ...]
    usual: tuple[str, ...]


ENGLISH = Language(
    greetings=(
        "Hello, and thank you for writing to us.",
        "Hi there, good to hear from you.",
        "Good day, and thanks for your patience.",
        "Hello! You have reached the right desk.",
    ),
    echoes=(
        "You wrote: “{topic}” Let me take care of that with you.",
        "I have read your message, “{topic}”, and here is what I can do about it.",
        "So this is about “{topic}”. That is something we can sort out together.",
        "About “{topic}”: you are not the first to ask, and there is a good answer.",
    ),
    lead_ins=(
        "Here is the shortest way there:",
        "Please go through these steps in order:",
        "Three or four small steps will do:",
        "This is what helps in nearly every case:",
    ),
    asides=(
        "It sounds like more work than it is; most people are done before their tea is.",
        "If a step looks odd, trust the screen more than me and tell me what it says.",
        "I have put a note on your case, so that nobody asks you the same thing twice.",
        "Should the page insist that all is well while it is not, a reload usually brings it to reason.",
    ),
    closings=(
        "If anything stays unclear, just answer here and I will look again.",
        "Tell me how it went, and I will close the case only when you are content.",
        "Is there anything else I can do for you today?",
        "I will keep an eye on it and write again when something changes.",
    ),
    hello=(
        "Hello! How can I help you today?",
        "Hi there! What can I do for you?",
        "Good day! Tell me what is on your mind and I will see what I can do.",
    ),
    found=(
        "I have looked it up for you. This is what I found: {topic}",
        "Thank you for waiting. The system says: {topic}",
    ),
    subjects=(
        Subject(
            ("order", "parcel", "package", "deliver", "shipping", "tracking", "shipment"),
            (
                "Open “My orders” and choose the order in question.",
                "Look at the tracking line: it names the last place that scanned the parcel.",
                "If that line is older than two working days, press “Where is my parcel?”.",
                "Check that the address and the telephone number are right, flat number included.",
                "We ask the carrier for you and write within one working day.",
            ),
        ),
        Subject(
            ("refund", "return", "money back", "exchange", "broken", "damaged"),
            (
                "Choose the article under “My orders” and press “Return or exchange”.",
                "Say in a few words what is wrong; a picture helps when something arrived broken.",
                "Print the label, or show the code at the counter of the parcel shop.",
                "The money goes back the way it came, within five working days of the parcel's arrival.",
            ),
        ),
        Subject(
            ("password", "log in", "login", "sign in", "account", "verification", "locked"),
            (
                "On the sign-in page choose “Forgotten your password?”.",
                "Enter the address you signed up with; the letter arrives within five minutes.",
                "Look among the unwanted mail too, where such letters like to hide.",
                "Choose a new password of at least twelve characters and sign in once on each device.",
            ),
        ),
        Subject(
            ("invoice", "bill", "charge", "payment", "card", "price", "subscription", "cancel"),
            (
                "Open “Account”, then “Payments”: every charge stands there with its date and reason.",
                "Compare the amount with the invoice; a reserved sum disappears after three days by itself.",
                "To end a subscription, choose “Do not renew”; it runs to the end of the paid month.",
                "If a charge is still a riddle, send me its last four digits and never the whole number.",
            ),
        ),
        Subject(
            ("error", "crash", "bug", "slow", "not work", "doesn't work", "install", "update"),
            (
                "Note what the message says, word for word, and what you did just before.",
                "Close the program, update it to the newest version and start it again.",
                "Try the same thing in another browser or on another network.",
                "If it happens again, send me the time of day, so that I find it in our records.",
            ),
        ),
    ),
    usual=(
        "Tell me what you expected and what happened instead.",
        "Check that you are signed in with the account that this is about.",
        "Try once more with one small example; it shows most quickly where things go wrong.",
        "If that changes nothing, I hand the case to a colleague who knows this part by heart.",
        "You receive a summary by mail, so you need to write nothing down.",
    ),
)

CHINESE = Language(
    greetings=(
        "您好，感谢您的来信。",
        "您好，很高兴为您服务。",
        "您好，让您久等了。",
        "您好！您找对地方了。",
    ),
    echoes=(
        "您提到：“{topic}”，我来帮您处理。",
        "关于“{topic}”，我已经看明白了，下面是可行的办法。",
        "您的问题是“{topic}”，我们一起来解决。",
        "“{topic}”这个问题不止您一位问过，好在有现成的答案。",
    ),
    lead_ins=(
        "最快的办法如下：",
        "请按顺序完成以下步骤：",
        "只需要几个小步骤：",
        "绝大多数情况下，这样就能解决：",
    ),
    asides=(
        "听起来麻烦，其实一杯茶的工夫就能办好。",
        "如果某一步看起来不对，请以页面为准，并把提示告诉我。",
        "我已经为您的问题做了记录，不会让您重复说明。",
        "如果页面坚持说一切正常，刷新一下通常就老实了。",
    ),
    closings=(
        "如果还有不清楚的地方，直接回复我就好。",
        "处理完请告诉我结果，您满意了我再结案。",
        "请问今天还有什么可以帮您？",
        "我会继续关注，有新的进展马上通知您。",
    ),
    hello=(
        "您好！请问有什么可以帮您？",
        "您好，我在的。请告诉我您遇到了什么问题。",
        "您好！很高兴为您服务，请讲。",
    ),
    found=("我帮您查到了，结果如下：{topic}", "感谢等待，系统显示：{topic}"),
    subjects=(
        Subject(
            ("订单", "快递", "物流", "发货", "包裹", "配送", "收到"),
            (
                "打开“我的订单”，选择对应的订单。",
                "查看物流信息，最后一行是包裹最近一次扫描的地点。",
                "如果两个工作日没有更新，请点击“催促物流”。",
                "请核对收货地址和电话，门牌号也别漏掉。",
                "我们会联系快递公司，并在一个工作日内回复您。",
            ),
        ),
        Subject(
            ("退款", "退货", "换货", "退钱", "坏了", "破损"),
            (
                "在“我的订单”里选择商品，点击“申请退换”。",
                "简单说明原因；如果商品破损，附上照片会更快。",
                "打印面单，或者在驿站出示取件码。",
                "我们收到包裹后，五个工作日内原路退款。",
            ),
        ),
        Subject(
            ("密码", "登录", "登陆", "账号", "帐号", "验证码", "锁定"),
            (
                "在登录页面点击“忘记密码”。",
                "输入注册时的手机号或邮箱，五分钟内会收到验证码。",
                "如果没有收到，请看看垃圾短信或垃圾邮件。",
                "设置至少十二位的新密码，然后在每台设备上重新登录。",
            ),
        ),
        Subject(
            ("发票", "账单", "扣款", "付款", "支付", "价格", "会员", "取消"),
            (
                "打开“账户”里的“支付记录”，每一笔都有日期和说明。",
                "与发票核对金额；预授权的款项三天后会自动退回。",
                "取消会员请选择“不再续费”，已付的月份仍可使用。",
                "如果仍有疑问，请只告诉我卡号后四位，不要发送完整卡号。",
            ),
        ),
        Subject(
            ("报错", "错误", "闪退", "卡顿", "打不开", "安装", "更新", "不能用"),
            (
                "请记下提示的原文，以及出错之前的操作。",
                "关闭程序，更新到最新版本后重新打开。",
                "换一个浏览器或网络再试一次。",
                "如果再次出现，请告诉我具体时间，方便我查记录。",
            ),
        ),
    ),
    usual=(
        "请告诉我您期望的结果，以及实际发生了什么。",
        "请确认登录的是与此问题相关的账号。",
        "用一个最简单的例子再试一次，最容易看出问题所在。",
        "如果还是不行，我会转给更熟悉这一块的同事。",
        "处理结果会发到您的邮箱，您不必记录。",
    ),
)
