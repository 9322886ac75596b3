"""What registries say, by what they mean by it: patterns for the words of refused requests. May import nothing."""

from __future__ import annotations

import re
from typing import Final


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE | re.DOTALL)


_REPOSITORY: Final = r"(?:project|repositor(?:y|ies)|registry|organi[sz]ation|namespace)"
_PART: Final = r"(?:blob|layer|body|chunk|upload|manifest|request|content|entity|payload)"
_LOGIN: Final = r"(?:token|credential|password|login|api.?key|secret|session)s?"

# A tag would move, and may not (docs/errors.md, TagImmutableError).
IMMUTABLE: Final = _words(
    r"immutab|overwrit|overrid|already exist|locked|lock(?:ed)? by|updating assets|redeploy",
    r"cannot be (?:changed|modified|updated)",
)
DISK_FULL: Final = _words(
    r"no space left|disk (?:is )?full|disk quota exceeded|\benospc\b|\bedquot\b|: file too large",
    r"insufficient (?:disk |storage )?(?:space|storage)|not enough (?:free |disk |storage )*space",
    r"storage (?:is )?full|storagefull|minimum free drive",
)
TOO_LARGE: Final = _words(
    rf"{_PART}\b.{{0,40}}(?:too (?:large|big)|size limit|(?:maximum|allowed) (?:size|length))",
    rf"{_PART}s?(?: size| length)? exceed(?!.{{0,60}}(?:quota|storage))|exceeds the request content length|entitytoolarge",
)
QUOTA: Final = _words(
    r"quota|(?:storage|space|plan|account|image|tag|repository|upper|usage) limit|storage resource|limit exceeded",
    r"exceed\w* (?:the |its |your )?(?:\w+ ){0,2}limit|(?:maximum|max|allowed) (?:allowed )?number",
    r"(?:too many|limit of \d+) (?:images|tags|repositories|projects)",
)
# Not a login, or a permission, that is good for reading only.
READ_ONLY: Final = _words(
    rf"^(?!.*\b(?:{_LOGIN}|user|robot|role|scope|permission)\b.{{0,40}}read[- ]?only)"
    rf"(?!.*read[- ]?only (?:access|scope|role|user|robot|permission|{_LOGIN})).*read[- ]?only",
    r"maintenance|modification is prohibited|write operations|(?:is|are|been) (?:frozen|archived)",
    r"writes? (?:is|are) (?:\w+ )?(?:suspended|disabled)|pushes? (?:is|are) (?:\w+ )?(?:suspended|disabled)",
)
CACHE: Final = _words(
    rf"pull[- ]?through|proxy[- ]?cache|(?:proxy|proxied|remote|group|virtual|mirror|cached?)[- ]{_REPOSITORY}",
    rf"{_REPOSITORY}\b.{{0,60}} (?:is|of type) (?:an? )?\W?(?:proxy|proxied|remote|group|virtual|mirror|cache)",
)
EXPIRED: Final = _words(
    rf"\b{_LOGIN}\b.{{0,20}}\bexpired|expired (?:\w+ )?{_LOGIN}|reauthenticat|(?:log|sign) ?in again",
)
NETWORK: Final = _words(
    r"client with ip|\bip (?:address|range)|network (?:rule|polic|restrict|access)|\bvpc\b|firewall",
)
MEDIA_TYPE: Final = _words(
    r"media.?type|content.?type|\bmime\b|schema.?version|(?:unsupported|unknown|invalid) manifest (?:format|type|version)",
    r"manifest (?:format|type|version|schema)",
)
# A manifest is refused without a reason.
NO_REASON: Final = _words(r'^\W*(?:manifest invalid)?\W*(?:"?\w+"?: "?\S{0,80})?\W*$')
LAYER_URL: Final = _words(r"invalid url|urls? (?:is|are) not allowed|foreign layer|non-?distributable")
NO_REPOSITORY: Final = _words(
    r"\b(?:project|repository|namespace|name)\b.{0,300}(?:not found|not known|unknown|not exist|no such)",
    r"(?:no such|unknown) (?:project|repository|namespace)",
)
# A login is not allowed to do something, and nothing more.
NO_ACCESS: Final = _words(
    r"^\W*$|denied|forbid|permission|permitted|not allowed|authori[sz]|access|privilege|scope|\brole\b",
    r"(?:does not|doesn't) exist|not found|read[- ]?only",
)
BAD_LOGIN: Final = _words(
    r"invalid.?(?:grant|client|credential|user|password|login)|incorrect|password|user ?name|unauthori[sz]ed",
)
CERTIFICATE: Final = _words(r"ssl certificate|client certificate|certificate required")
DIGEST: Final = _words(r"digest (?:did|does) not match|digest mismatch|checksum")
