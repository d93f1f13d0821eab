"""What a hostile output tries: markup that loads or leads elsewhere, and scripts.

In each text `URL` is `http://NAME.test:PORT/NAME`, where a listener waits. A script says `ran`
when it began and `leaked` when it got what it must not have.
"""

import re

_SCRIPTED = "<script>parent.postMessage({{ran: '{name}'}}, '*');{code}</script>"
_REACH = """
(async () => {{ if (await ({what})) parent.postMessage({{leaked: '{name}'}}, '*'); }})()
  .catch(() => {{ }});
"""

MARKUP = {
    "image": "<img src=URL>",
    "image-set": "<img srcset='URL 1x'>",
    "picture": "<picture><source srcset=URL><img></picture>",
    "video": "<video autoplay src=URL></video>",
    "poster": "<video poster=URL></video>",
    "audio": "<audio autoplay src=URL></audio>",
    "input-image": "<input type=image src=URL>",
    "body-background": "<body background=URL>",
    "svg-image": "<svg><image href=URL /></svg>",
    "svg-script": "<svg><script href=URL></script></svg>",
    "style-import": "<style>@import url(URL);</style>",
    "style-background": "<style>body { background: url(URL) }</style>",
    "style-attribute": "<p style='background: url(URL)'>x</p>",
    "style-font": "<style>@font-face { font-family: f; src: url(URL) } p { font-family: f }"
    "</style><p>x</p>",
    "style-namespace": "<style>@font-face { font-family: g; src: url(URL) format('woff2') }"
    "</style><p style='font: 12px g'>x</p>",
    "link-style": "<link rel=stylesheet href=URL>",
    "link-prefetch": "<link rel=prefetch href=URL>",
    "link-preload": "<link rel=preload as=image href=URL>",
    "link-modulepreload": "<link rel=modulepreload href=URL>",
    "link-preconnect": "<link rel=preconnect href=URL>",
    "link-manifest": "<link rel=manifest href=URL>",
    "iframe": "<iframe src=URL></iframe>",
    "iframe-inner": "<iframe srcdoc='<img src=URL>'></iframe>",
    "frameset": "<frameset><frame src=URL></frameset>",
    "object": "<object data=URL></object>",
    "embed": "<embed src=URL>",
    "refresh": "<meta http-equiv=refresh content='0;url=URL'>",
    "base": "<base href=URL><img src=base>",
    "script-src": "<script src=URL></script>",
    "script-module": "<script type=module>import 'URL'</script>",
    "speculation": '<script type=speculationrules>{"prefetch": [{"source": "list", '
    '"urls": ["URL"], "eagerness": "immediate"}]}</script>',
}
# Each has one thing to click.
CLICKED = {
    "link": "<a href=URL>go</a>",
    "link-ping": "<a href='#here' ping=URL>go</a>",
    "link-blank": "<a href=URL target=_blank rel=opener>go</a>",
    "link-top": "<a href=URL target=_top>go</a>",
    "link-svg": "<svg width=60 height=30><a xlink:href=URL><text y=20>go</text></a></svg>",
    "link-shadow": "<div><template shadowrootmode=closed><a href=URL>go</a></template></div>",
    "form": "<form action=URL><button>go</button></form>",
    "form-action": "<form><button formaction=URL>go</button></form>",
    "form-blank": "<form action=URL target=_blank method=post><button>go</button></form>",
}
_SCRIPTS = {
    "event-handler": None,
    "fetch": "fetch('URL', {mode: 'no-cors'});",
    "xhr": "const x = new XMLHttpRequest(); x.open('GET', 'URL'); x.send();",
    "beacon": "navigator.sendBeacon('URL', 'x');",
    "websocket": "new WebSocket('URL'.replace('http', 'ws'));",
    "eventsource": "new EventSource('URL');",
    "webtransport": "new WebTransport('https://127.0.0.1:@UDP/x');",
    "webrtc-udp": """
const udp = new RTCPeerConnection({iceServers: [{urls: 'stun:127.0.0.1:@UDP'}]});
udp.createDataChannel('x'); udp.createOffer().then((o) => udp.setLocalDescription(o));""",
    "webrtc-tcp": """
const tcp = new RTCPeerConnection({iceServers: [
  {urls: 'turn:127.0.0.1:@TCP?transport=tcp', username: 'x', credential: 'x'}]});
tcp.createDataChannel('x'); tcp.createOffer().then((o) => tcp.setLocalDescription(o));""",
    "image-script": "new Image().src = 'URL';",
    "import": "import('URL').catch(() => {});",
    "worker": "new Worker(URL.createObjectURL(new Blob([\"fetch('URL')\"])));",
    "iframe-script": "document.body.append(Object.assign("
    "document.createElement('iframe'), {src: 'URL'}));",
    "iframe-srcdoc": "document.body.append(Object.assign(document.createElement('iframe'), "
    "{srcdoc: \"<script>fetch('URL')<\\/script><img src='URL'>\"}));",
    "iframe-javascript": "document.body.append(Object.assign(document.createElement('iframe'), "
    "{src: \"javascript:fetch('URL')\"}));",
    "link-script": "document.head.append(Object.assign(document.createElement('link'), "
    "{rel: 'prefetch', href: 'URL'}));",
    "preconnect-script": "document.head.append(Object.assign(document.createElement('link'), "
    "{rel: 'preconnect', href: 'URL'}));",
    "form-script": "const form = Object.assign(document.createElement('form'), {action: 'URL'});"
    "document.body.append(form); form.submit();",
    "location": "location = 'URL';",
    "popup": "open('URL');",
    "top": "top.location = 'URL';",
    "alert": "alert('x');",
}
_REACHES = {
    "reach-dom": "parent.document.title = 'owned'",
    "reach-cookie": "document.cookie = 'a=b', document.cookie",
    "reach-storage": "localStorage.x = 1",
    "reach-session-storage": "sessionStorage.x = 1",
    "reach-indexeddb": "new Promise((yes, no) => { const asked = indexedDB.open('x'); "
    "asked.onsuccess = () => yes(true); asked.onerror = no; })",
    "reach-caches": "caches.open('x')",
    "reach-neighbour": "parent.frames[0].document",
    "reach-origin": "origin !== 'null'",
    "reach-api": "fetch('/djsci/').then((answer) => answer.text())",
}


def _scripts() -> dict[str, str]:
    made = {
        name: _SCRIPTED.format(name=name, code=code)
        for name, code in _SCRIPTS.items()
        if code is not None
    }
    handler = "parent.postMessage({ran: `event-handler`}, `*`); fetch(`URL`)"
    made["event-handler"] = f'<img src="data:," onerror="{handler}">'
    for name, what in _REACHES.items():
        made[name] = _SCRIPTED.format(name=name, code=_REACH.format(name=name, what=what))
    return made


SCRIPTS = _scripts()
# What takes the whole page along where nothing holds it back, or waits for an answer.
ALONE = ("link-top", "top", "alert")
# What arrives without a name.
UNNAMED = {
    "link-preconnect": "tcp",
    "preconnect-script": "tcp",
    "webrtc-tcp": "tcp",
    "webrtc-udp": "udp",
}
# What sends nothing from a frame in a headless Chromium without QUIC, held back or not.
SILENT = ("webtransport", "link-manifest", "frameset", "speculation")


def outputs(tcp: int, udp: int) -> dict[str, str]:
    """Every attack's markup by name, against listeners at these ports."""
    return {
        name: re.sub(r"\bURL\b(?!\.)", f"http://{name}.test:{tcp}/{name}", text)
        .replace("@TCP", str(tcp))
        .replace("@UDP", str(udp))
        for name, text in {**MARKUP, **CLICKED, **SCRIPTS}.items()
    }
