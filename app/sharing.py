"""How a workspace is shared with others: what sharing.toml says, checked whole before anything listens.

    public = "https://cpd.example.org"      # the address that people type; https, unless it is this machine's own
    listen = "127.0.0.1"                    # where the app listens for the proxy
    owners = ["me@example.org"]             # may also name files of this machine
    editors = ["ann@example.org"]           # start, steer, upload
    viewers = "any signed-in"               # look on; or a list

    [proxy]                                 # --share proxy
    user_header = "X-Forwarded-Email"       # who the proxy says it is
    secret_header = "X-CPD-Secret"          # by which the app knows its proxy
    secret_env = "CPD_PROXY_SECRET"         # or secret_file
    sign_out = "/oauth2/sign_out"           # where the proxy ends a session (optional)

    [oidc]                                  # --share oidc
    metadata = "https://accounts.example.org/.well-known/openid-configuration"
    client_id = "cpd-studio"
    client_secret_file = "/home/me/.cpd-client-secret"      # or client_secret_env
    claim = "email"                         # which claim names a person (optional)

The lists of people are read again whenever the file changes, so that a name that is struck out is out at once.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import os
import re
import secrets
import tomllib
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.security import LOOPBACK
from cpd.access import AccessError, Role
from cpd.errors import CpdError
from cpd.files import replacing

FILE, COOKIE_SECRET = "sharing.toml", ".sharing-cookie-secret"
MODES = ("oidc", "proxy")
ANYBODY = "any signed-in"
USER = "cpd_user"  # key of st.user under which the proxy's header is found
LEAST_SECRET = 32  # characters
OIDC_PACKAGES = ("authlib", "httpx")
HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
KEYS = {
    "": {"public", "listen", "owners", "editors", "viewers", "proxy", "oidc"},
    "proxy": {"user_header", "secret_header", "secret_env", "secret_file", "sign_out"},
    "oidc": {"metadata", "client_id", "client_secret_env", "client_secret_file", "claim"},
}
log = logging.getLogger("cpd.app")


@dataclass(frozen=True)
class People:
    """Names in lower case; `viewers` None for whoever has signed in."""

    owners: frozenset[str] = frozenset()
    editors: frozenset[str] = frozenset()
    viewers: frozenset[str] | None = frozenset()

    def role(self, name: str) -> Role:
        name = name.strip().lower()
        if not name:
            return Role.NONE
        if name in self.owners:
            return Role.OWNER
        if name in self.editors:
            return Role.EDITOR
        return Role.VIEWER if self.viewers is None or name in self.viewers else Role.NONE


class Guests:
    """The people of a sharing.toml as it is now. Where it can no longer be read, there are none."""

    def __init__(self, path: Path, people: People) -> None:
        self._path, self._people, self._seen = path, people, _stamp(path)

    def role(self, name: str) -> Role:
        seen = _stamp(self._path)
        if seen != self._seen:
            try:
                self._people = people_of(_read(self._path), self._path)
            except CpdError as error:
                log.error("nobody is let in: %s", error)
                self._people = People()
            self._seen = seen
        return self._people.role(name)


@dataclass(frozen=True)
class Sharing:
    """A complete and safe way to share.

    Attributes:
        mode: one of MODES.
        public: origin of the address that people type, e.g. "https://cpd.example.org".
        listen: IP address to listen on.
        auth: what Streamlit's own sign-in is told; empty behind a proxy.
    """

    mode: str
    public: str
    listen: str
    guests: Guests = field(repr=False)
    user_header: str = ""
    secret_header: str = ""
    secret: str = field(default="", repr=False)
    sign_out: str = ""
    claim: str = "email"
    auth: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def host(self) -> str:
        return urlsplit(self.public).hostname or ""

    @property
    def is_secure(self) -> bool:
        return self.public.startswith("https:")

    def role(self, name: str) -> Role:
        return self.guests.role(name)

    def name_in(self, user: Mapping[str, Any]) -> str:
        """Who a session's user is, "" for nobody: as the proxy's header said, or as the signed identity claims."""
        if self.mode == "proxy":
            name = user.get(USER)
        elif user.get("is_logged_in") is True and user.get("email_verified") is not False:
            name = user.get(self.claim)
        else:
            name = None
        return name.strip() if isinstance(name, str) else ""

    def is_proxy(self, secret: str) -> bool:
        """Whether who calls knows the proxy's secret; takes equally long whatever is wrong with it."""
        return bool(self.secret) and hmac.compare_digest(secret.encode(), self.secret.encode())


def read_sharing(root: Path, mode: str, port: int, environment: MutableMapping[str, str] | None = None) -> Sharing:
    """What sharing.toml of the workspace says, when it is complete and safe. Secrets are taken out of the environment,
    which workers inherit.

    Raises:
        AccessError: one line that says what is missing or unsafe.
    """
    environment = os.environ if environment is None else environment
    path = root / FILE
    row = _read(path)
    guests = Guests(path, people_of(row, path))
    public = _public(_text(row, "public", path), path)
    listen = _text(row, "listen", path, LOOPBACK[0])
    try:
        ipaddress.ip_address(listen)
    except ValueError as error:
        raise AccessError(f"{path}: listen = {listen!r} is not an IP address, such as 127.0.0.1 or 0.0.0.0.") from error
    part = row.get(mode)
    if not isinstance(part, dict):
        raise AccessError(f"{path}: --share {mode} needs a section [{mode}]; docs/sharing.md shows one.")
    if mode == "proxy":
        return _behind_proxy(part, path, environment, public, listen, guests)
    return _with_oidc(part, path, environment, public, listen, guests, root)


def _behind_proxy(
    part: Mapping[str, Any], path: Path, environment: MutableMapping[str, str], public: str, listen: str, guests: Guests
) -> Sharing:
    user, secret = _header(part, "user_header", path), _header(part, "secret_header", path)
    if user.lower() == secret.lower():
        raise AccessError(f"{path}: user_header and secret_header must be two headers.")
    sign_out = _text(part, "sign_out", path, "")
    if sign_out and not re.fullmatch(r"/[\w./?=&%-]*", sign_out):
        raise AccessError(f"{path}: sign_out = {sign_out!r} is not a path such as /oauth2/sign_out.")
    return Sharing("proxy", public, listen, guests, user, secret, _secret(part, "secret", path, environment), sign_out)


def _with_oidc(part: Mapping[str, Any], path: Path, environment: MutableMapping[str, str], public: str, listen: str, guests: Guests, root: Path) -> Sharing:  # fmt: skip
    missing = [name for name in OIDC_PACKAGES if find_spec(name) is None]
    if missing:
        raise AccessError(
            f"--share oidc needs {' and '.join(missing)}: .venv/bin/python -m pip install -r requirements-oidc.txt"
        )
    metadata = _text(part, "metadata", path)
    where = urlsplit(metadata)
    if where.scheme != "https" and not (where.scheme == "http" and where.hostname in LOOPBACK):
        raise AccessError(
            f"{path}: metadata = {metadata!r} is not an https address, so that anybody on the way could answer for it."
        )
    auth = {
        "redirect_uri": f"{public}/oauth2callback", "cookie_secret": _cookie_secret(root), "client_id": _text(part, "client_id", path),
        "client_secret": _secret(part, "client_secret", path, environment, least=8), "server_metadata_url": metadata,
    }  # fmt: skip
    return Sharing("oidc", public, listen, guests, claim=_text(part, "claim", path, "email"), auth=auth)


def people_of(row: Mapping[str, Any], path: Path) -> People:
    """Raises AccessError when the lists are not lists of names, or nobody is named."""

    def names(key: str) -> frozenset[str]:
        found = row.get(key, [])
        if not (isinstance(found, list) and all(isinstance(name, str) and name.strip() for name in found)):
            raise AccessError(f'{path}: {key} is a list of names, such as ["ann@example.org"].')
        return frozenset(name.strip().lower() for name in found)

    viewers = None if row.get("viewers") == ANYBODY else names("viewers")
    people = People(names("owners"), names("editors"), viewers)
    if not (people.owners or people.editors or viewers is None or viewers):
        raise AccessError(f'{path}: names nobody; give owners, editors or viewers, or viewers = "{ANYBODY}".')
    return people


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise AccessError(f"{path}: is missing; sharing needs it, and docs/sharing.md says what goes into it.")
    _private(path)
    try:
        row = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise AccessError(f"{path}: cannot be read ({error}).") from error
    for part, allowed in KEYS.items():
        found = row if not part else row.get(part, {})
        unknown = sorted(set(found) - allowed) if isinstance(found, dict) else [part]
        if unknown:
            raise AccessError(
                f"{path}: knows no {unknown[0]!r}{f' in [{part}]' if part else ''}; it may have: {', '.join(sorted(allowed))}."
            )
    return row


def _private(path: Path) -> None:
    info = path.stat()
    if info.st_mode & 0o077 or info.st_uid not in (os.geteuid(), 0):
        raise AccessError(f"{path}: others could read or change it; it must be yours alone: chmod 600 {path}")


def _text(row: Mapping[str, Any], key: str, path: Path, otherwise: str | None = None) -> str:
    found = row.get(key, otherwise)
    if not isinstance(found, str) or (otherwise is None and not found.strip()):
        raise AccessError(f'{path}: needs {key} = "..."; docs/sharing.md says what goes there.')
    return found.strip()


def _header(row: Mapping[str, Any], key: str, path: Path) -> str:
    name = _text(row, key, path)
    if not HEADER.fullmatch(name) or name.lower() in (
        "host",
        "origin",
        "cookie",
        "connection",
        "upgrade",
        "authorization",
    ):
        raise AccessError(
            f"{path}: {key} = {name!r} cannot be a header that a proxy sets; take one such as X-Forwarded-Email."
        )
    return name


def _secret(
    row: Mapping[str, Any], key: str, path: Path, environment: MutableMapping[str, str], least: int = LEAST_SECRET
) -> str:
    """From the environment or a private file, never from sharing.toml itself."""
    variable, file = _text(row, f"{key}_env", path, ""), _text(row, f"{key}_file", path, "")
    if bool(variable) == bool(file):
        raise AccessError(f"{path}: give {key}_env, the name of an environment variable, or {key}_file, one of them.")
    if variable:
        secret, where = environment.pop(variable, "").strip(), f"the environment variable {variable}"
    else:
        place = Path(file).expanduser()
        if not place.is_file():
            raise AccessError(f"{place}: is missing; {path} names it as {key}_file.")
        _private(place)
        secret, where = place.read_text().strip(), str(place)
    if len(secret) < least or not secret.isascii():
        raise AccessError(
            f"{where}: holds no secret of {least} ASCII characters or more; make one with: openssl rand -hex 32"
        )
    return secret


def _public(text: str, path: Path) -> str:
    """The origin of the public address, as browsers write it."""
    try:
        found = urlsplit(text)
        port = found.port
    except ValueError:
        found, port = urlsplit(""), None
    plain = not found.username and found.path in ("", "/") and not found.query and not found.fragment
    if not (
        found.scheme in ("http", "https") and found.hostname and re.fullmatch(r"[\w.:-]+", found.hostname) and plain
    ):
        raise AccessError(
            f"{path}: public = {text!r} is not an address such as https://cpd.example.org, without a path."
        )
    if found.scheme == "http" and found.hostname not in LOOPBACK:
        raise AccessError(f"{path}: public = {text!r} must be https: over http anybody on the way reads the sign-in.")
    host = f"[{found.hostname}]" if ":" in found.hostname else found.hostname
    usual = {"http": 80, "https": 443}[found.scheme]
    return f"{found.scheme}://{host}" + (f":{port}" if port and port != usual else "")


def _cookie_secret(root: Path) -> str:
    """By which sign-ins are signed; made once, so that they outlive a restart. Delete the file to end them all."""
    path = root / COOKIE_SECRET
    if not path.exists():
        with replacing(path) as file:
            file.write(secrets.token_hex(32).encode())
    _private(path)
    found = path.read_text().strip()
    if len(found) < LEAST_SECRET:
        raise AccessError(f"{path}: is damaged; delete it, and everybody signs in again.")
    return found


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_mtime_ns, info.st_size, info.st_ino
