"""The table of the section `console`, and those of what stands below it."""

from __future__ import annotations

from gateway.config import values as v
from gateway.config.dicom_kinds import HOST, NETWORK
from gateway.config.kinds import PATH, ListOf, MapOf, Text, choice, duration, number
from gateway.config.sections import Key, Nested, Section


def _issuer(text: str) -> str:
    if not text.startswith(("https://", "http://127.0.0.1:", "http://localhost:")) or "?" in text or "#" in text:
        raise ValueError("is not the address of a provider: https://…, without ? and #")
    return text.rstrip("/")


def _word(text: str) -> str:
    if not text or not text.isprintable() or len(text) > 200:
        raise ValueError("must have 1 to 200 printable characters")
    return text


_WORD = Text("text", _word)

TLS = Section(
    "console.tls",
    v.TlsFiles,
    (
        Key("certificate", PATH, "The certificate (PEM), and behind it those that lead to the authority's."),
        Key("key", PATH, "Its private key (PEM), not encrypted. Both are read again when the files change."),
    ),
)

OIDC = Section(
    "console.oidc",
    v.Oidc,
    (
        Key("issuer", Text("URL", _issuer), "The provider's address; below it is `/.well-known/openid-configuration`."),
        Key("client_id", _WORD, "The name by which the provider knows the gateway."),
        Key("client_secret", Text("text", _word, secret=True), "The secret that it shares with the gateway."),
        Key("scopes", ListOf(_WORD, "none"), "What the gateway asks the provider for."),
        Key("name_claim", _WORD, "The claim that holds the person's name, by which the audit trail knows him."),
        Key("role_claim", _WORD, "The claim whose values say what the person may; a list, or one text."),
        Key(
            "roles",
            MapOf("value of the claim → role", _word, choice(v.ConsoleRole), "^.*$"),
            "Which role a value of that claim gives; of several the greatest. Who has none is refused.",
        ),
    ),
)

CONSOLE = Section(
    "console",
    v.ConsoleConfig,
    (
        Key("host", HOST, "The address that serves pages, API and health."),
        Key("port", number(1, 65535), "Its TCP port."),
        Key(
            "users",
            PATH,
            "The file of the users and their API tokens, written by `gateway user`.",
            "`<state_dir>/users.yaml`",
        ),
        Key(
            "host_names",
            ListOf(HOST, "only IP addresses, `localhost`, and `host`"),
            "The names by which browsers reach it. A request that names another host is refused.",
        ),
        Key(
            "proxies",
            ListOf(NETWORK, "none"),
            "Reverse proxies that are believed what they say in `X-Forwarded-For` and `X-Forwarded-Proto`.",
        ),
        Key("tls", Nested(TLS), "The certificate; without one it speaks HTTP."),
        Key("oidc", Nested(OIDC), "Single sign-on; without it people log in with name and password only."),
        Key("session_idle", duration(60, 7 * v.DAY_S), "After so long without a request a person has to log in again."),
        Key("session", duration(60, 30 * v.DAY_S), "After so long a person has to log in again whatever he did."),
    ),
)
