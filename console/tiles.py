"""The background of the map from one file of this site (PMTiles): no outside server is asked.

Whoever asks a tile server for the tiles of a street tells it that the street is looked at.
"""

from pathlib import Path
from typing import Any, Final

from pmtiles.reader import MmapSource, Reader
from pmtiles.tile import TileType

MEDIA_TYPES: Final = {
    TileType.PNG: "image/png",
    TileType.JPEG: "image/jpeg",
    TileType.WEBP: "image/webp",
    TileType.AVIF: "image/avif",
}


class TilesError(ValueError):
    """The file cannot be used; the message says why."""


class Tiles:
    """An open archive of pictures. Vector tiles are refused: the page has no style for them."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises TilesError."""
        try:
            with path.open("rb") as file:
                self._reader = Reader(MmapSource(file))
            header: dict[str, Any] = self._reader.header()
        except (OSError, ValueError) as error:
            raise TilesError(f"cannot be read: {error}") from None
        except Exception as error:  # noqa: BLE001 - the library has classes for each broken magic
            raise TilesError(f"is no PMTiles archive: {type(error).__name__}") from None
        kind = header["tile_type"]
        if kind not in MEDIA_TYPES:
            raise TilesError(
                f"holds {kind.name.lower()} tiles; the map draws pictures (png, jpeg, webp, avif)"
            )
        self.media_type = MEDIA_TYPES[kind]
        self.zoom_max = int(header["max_zoom"])

    def get(self, z: int, x: int, y: int) -> bytes | None:
        """One tile; None when there is none at that place."""
        if not (0 <= z <= self.zoom_max and 0 <= x < 2**z and 0 <= y < 2**z):
            return None
        found: bytes | None = self._reader.get(z, x, y)
        return found
