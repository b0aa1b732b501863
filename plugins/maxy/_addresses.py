"""Error texts without the addresses of internal servers, for messages that leave the house."""

from __future__ import annotations

import ipaddress
import re

#: In the place of an address.
HIDDEN = "[address]"

_NAME = r"[A-Za-z](?:[\w-]*\w)?(?:\.[\w-]*\w)*\.?"
_QUOTED = r"""(?:'[^'\s]*'|"[^"\s]*"|`[^`\s]*`)"""

_PATTERNS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # The whole address, with a name and password in it: http://…, clickhouse+native://…, jdbc:postgresql://…
        r"""\b[a-z][a-z0-9+.:-]*://[^\s'"<>`|\\^{}]*[^\s'"<>`|\\^{}.,;:!?)\]]""",
        # A socket's address as Python has it: ('10.0.0.5', 8123), ('::1', 8123, 0, 0)
        rf"\({_QUOTED}, ?\d{{1,5}}(?:, ?\d+, ?\d+)?\)",
        # HTTPConnectionPool(host='ch-1', port=8123), host=ch-1 port=5432
        rf"\bhost(?:name)?\s*[=:]\s*(?:{_QUOTED}|[\w.:\[\]-]+)(?:[,;]?\s*port\s*[=:]\s*['\"]?\d{{1,5}}['\"]?)?",
        # connection to server at "db" (10.0.0.5), port 5432 failed; host name "db"; hostname 'db'
        rf"(?<=\bat ){_QUOTED}(?: \([\w.:]+\))?(?:,? port \d{{1,5}})?",
        rf"(?<=\bhost )(?:name )?{_QUOTED}",
        rf"(?<=\bhostname ){_QUOTED}",
        rf"(?<=\bserver ){_QUOTED}(?:,? port \d{{1,5}})?",
        rf"(?<=\bserver on ){_QUOTED}",
        # unix socket: /run/valkey.sock
        r"(?<=\bunix socket: )/[^\s'\",;)]+|/[^\s'\",;)]+\.s(?:ock|\.PGSQL\.\d+)\b",
        # ch-1.internal:9000; a key of Valkey has more colons, a time begins with a digit.
        rf"(?<![\w:.@%/-]){_NAME}:\d{{2,5}}(?!\w|[:.]\w)",
        # Error -2 connecting to valkey; Cannot connect to host ch-1; Failed to resolve 'ch-1'
        rf"(?<=connecting to )(?!unix\b|the\b|a\b|server\b|host\b){_NAME}",
        rf"(?<=connect to )(?:host )(?!\[address\]){_NAME}",
        rf"(?<=connection to )(?!server\b|the\b|a\b){_NAME}(?= (?:timed out|refused|failed|lost|was|closed|reset)\b)",
        rf"(?<=resolve ){_QUOTED}",
        rf"(?<=getaddrinfo failed for ){_NAME}",
        # Names that only an internal name server knows.
        r"(?<![\w.@/-])[\w-]+(?:\.[\w-]+)*\.(?:internal|intranet|local|localdomain|lan|corp|private|svc"
        r"(?:\.[\w-]+)*)(?::\d{1,5})?(?![\w-])",
    )
]
# Anything of the characters of an IP address, with a port or not; what it is, Python says.
_IP_CANDIDATE = re.compile(
    r"(?<![\w.:%/-])(?:\[(?P<bracketed>[0-9a-f:.]+)(?:%\w+)?\](?::\d{1,5})?"
    r"|(?P<four>\d{1,3}(?:\.\d{1,3}){3})(?::\d{1,5}|/\d{1,2})?"
    r"|(?P<six>[0-9a-f:]*:[0-9a-f:.]*[0-9a-f])(?:%\w+)?)(?![\w.]*\w)(?!:\w)",
    re.IGNORECASE,
)
# The version of a ClickHouse server looks like an address.
_AFTER_VERSION = re.compile(r"\b(?:version|v|revision)[ :=]*$", re.IGNORECASE)


def hide_addresses(text: str) -> str:
    """Return a text without URLs, IP addresses, and names of hosts with or without a port.

    It knows what the package's drivers and Airflow write into their errors, and addresses of the usual forms anywhere.
    Keys of Valkey, instants, versions, names of tables and of classes stay.
    """
    for pattern in _PATTERNS:
        text = pattern.sub(HIDDEN, text)
    return _IP_CANDIDATE.sub(_hidden_ip, text)


def _hidden_ip(found: re.Match[str]) -> str:
    address = found["bracketed"] or found["four"] or found["six"]
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return found[0]
    if found["four"] and _AFTER_VERSION.search(found.string[: found.start()]):
        return found[0]
    return HIDDEN
