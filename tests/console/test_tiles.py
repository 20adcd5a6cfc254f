"""The background of the map from a file of this site."""

import pytest
from pmtiles.tile import Compression, TileType, zxy_to_tileid
from pmtiles.writer import Writer

from afstand.config import ConfigError, load
from alerting.book.roles import Role
from console.settings import Settings, TileSettings
from tests.console.site import ConsoleSite

PLACES = [(z, x, y) for z in range(5) for x in range(2**z) for y in range(2**z)]


def picture(z: int, x: int, y: int) -> bytes:
    return b"\x89PNG" + bytes([z, x, y])


def archive(path, kind=TileType.PNG, draw=picture):
    """Every tile to zoom 4, but one."""
    with path.open("wb") as file:
        writer = Writer(file)
        for z, x, y in sorted(PLACES, key=lambda place: zxy_to_tileid(*place)):
            if (z, x, y) != (4, 3, 3):
                writer.write_tile(zxy_to_tileid(z, x, y), draw(z, x, y))
        header = {
            "tile_type": kind, "tile_compression": Compression.NONE, "min_lon_e7": 0,
            "min_lat_e7": 0, "max_lon_e7": 0, "max_lat_e7": 0, "center_zoom": 0,
            "center_lon_e7": 0, "center_lat_e7": 0,
        }  # fmt: skip
        writer.finalize(header, {})
    return path


def test_the_console_serves_the_tiles_of_its_own_file(tmp_path):
    tiles = TileSettings(file=archive(tmp_path / "base.pmtiles"), max_zoom=4)
    site = ConsoleSite(tmp_path, settings=Settings(tiles=tiles))
    me = site.as_role(Role.OPERATOR)
    shown = me.get("/v1/page-settings").json()
    assert shown["tiles_url"] == "/tiles/{z}/{x}/{y}"
    for z, x, y in PLACES[::29]:
        answer = me.get(shown["tiles_url"].format(z=z, x=x, y=y))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert answer.content == picture(z, x, y)
    for where in ("4/3/3", "5/0/0", "2/4/0", "0/0/1", "99/0/0"):
        assert me.get(f"/tiles/{where}").status_code == 404
    # Only this site is asked for anything.
    policy = me.get("/").headers["content-security-policy"]
    assert "http" not in policy
    site.close()


@pytest.mark.parametrize("what", ["missing", "torn", "other", "vector"])
def test_a_file_that_cannot_be_used_is_said_at_the_start(tmp_path, what):
    path = archive(tmp_path / "base.pmtiles", TileType.MVT if what == "vector" else TileType.PNG)
    if what == "missing":
        path.unlink()
    elif what == "torn":
        path.write_bytes(path.read_bytes()[:50])
    elif what == "other":
        path.write_bytes(b"SQLite format 3" + bytes(500))
    config = tmp_path / "afstand.toml"
    config.write_text(f'[console.tiles]\nfile = "{path}"\n')
    with pytest.raises(ConfigError) as refused:
        load(config).console_settings()
    (problem,) = refused.value.problems
    assert problem.key == "console.tiles.file"
    assert ("mvt" in problem.reason) == (what == "vector")
