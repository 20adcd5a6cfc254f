"""What the console has to know to start. Filled from the configuration file by `afstand`."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from alerting.book.roles import Role


class OidcSettings(msgspec.Struct, frozen=True, kw_only=True):
    """An OpenID Connect provider. `roles`: value of the claim -> role here; others may not in."""

    issuer: str
    client_id: str
    client_secret: str
    role_claim: str = "groups"
    name_claim: str = "preferred_username"
    roles: Mapping[str, Role]
    scopes: str = "openid profile"


class TileSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the map's background comes from. Empty: none, and nobody learns what is looked at.

    `url`: of pictures with {z}/{x}/{y}, elsewhere. `file`: a PMTiles archive of this site, which
    the console serves itself; it goes before `url`.
    """

    url: str = ""
    file: Path | None = None
    attribution: str = ""
    max_zoom: int = 19


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The console of one site.

    `public_url`: scheme and host under which browsers reach it, when a proxy stands before it.
    """

    public_url: str = ""
    secure: bool = False
    local_accounts: bool = True
    oidc: OidcSettings | None = None
    tiles: TileSettings = TileSettings()
    language: str = "nl"
    site_name: str = ""
    vendor_dir: Path | None = None
    centre: tuple[float, float, float] = (5.3, 52.15, 6.5)
    """Longitude, latitude and zoom of the map at rest."""
