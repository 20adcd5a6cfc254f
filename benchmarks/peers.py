"""Peers behind a socket, measured when present: Redis GEO and PostGIS.

They answer another question more slowly: Redis knows points and circles, no polygons; both pay for
a connection and a protocol. They stand here because they are what people reach for first.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis
import shapely

from benchmarks.oracle import RealZone

Answer = tuple[list[str], dict[str, str]]  # lines for the report, versions
_START_S = 10.0


def redis_rows(_zones: Sequence[RealZone], checks: Any) -> Answer:
    """GEOADD, GEODIST and GEOSEARCH, pipelined, on a redis-server of our own."""
    server = shutil.which("redis-server")
    if server is None:
        return ["Redis GEO: no redis-server here"], {}
    with tempfile.TemporaryDirectory(prefix="afstand-bench-") as folder:
        path = Path(folder) / "socket"
        command = [server, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", folder]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                client = redis.Redis(unix_socket_path=str(path))
                _wait_for(client)
                return _redis_answer(client, checks)
            finally:
                process.terminate()


def _wait_for(client: Any) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            client.ping()
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _redis_answer(client: Any, checks: Any) -> Answer:
    count = len(checks.zone)
    # Redis takes degrees; where on the earth does not matter for its speed.
    lon = 4.0 + checks.x_mm / 1e9
    lat = 47.0 + checks.y_mm / 1e9
    names = [f"p{i}" for i in range(count)]
    added = client.pipeline(transaction=False)
    for name, a, b in zip(names, lon.tolist(), lat.tolist(), strict=True):
        added.geoadd("fixes", (a, b, name))
    apart = client.pipeline(transaction=False)
    for name in names:
        apart.geodist("fixes", names[0], name, unit="m")
    search = client.pipeline(transaction=False)
    for a, b in zip(lon.tolist(), lat.tolist(), strict=True):
        search.geosearch("fixes", longitude=a, latitude=b, radius=500, unit="m", count=1)
    lines = []
    for what, pipeline in (("GEOADD", added), ("GEODIST", apart), ("GEOSEARCH 500 m", search)):
        started = time.perf_counter()
        pipeline.execute()
        spent_us = (time.perf_counter() - started) * 1e6 / count
        lines.append(f"Redis {what}: {spent_us:.2f} us each, pipelined")
    return lines, {"redis-server": client.info("server")["redis_version"]}


def postgis_rows(zones: Sequence[RealZone], checks: Any) -> Answer:
    """ST_Contains and ST_Distance of every check, as EXPLAIN ANALYZE counts them."""
    connection = os.environ.get("AFSTAND_POSTGIS")
    program = shutil.which("psql")
    if not connection or program is None:
        return ["PostGIS: none (AFSTAND_POSTGIS is not set or psql is missing)"], {}
    areas = ",".join(
        f"({i},ST_GeomFromWKB('\\x{shapely.to_wkb(zone.polygon, hex=True)}'::bytea))"
        for i, zone in enumerate(zones)
    )
    points = ",".join(
        f"({z},ST_MakePoint({x / 1000.0!r},{y / 1000.0!r}))"
        for z, x, y in zip(
            checks.zone.tolist(), checks.x_mm.tolist(), checks.y_mm.tolist(), strict=True
        )
    )
    # Only numbers and hexadecimal digits of our own making go in.
    script = f"""
        SELECT postgis_lib_version();
        CREATE TEMP TABLE area (id int PRIMARY KEY, g geometry);
        INSERT INTO area VALUES {areas};
        CREATE TEMP TABLE line AS SELECT id, ST_Boundary(g) AS g FROM area;
        CREATE TEMP TABLE fix (id int, g geometry);
        INSERT INTO fix VALUES {points};
        ANALYZE;
        SET max_parallel_workers_per_gather = 0;
        EXPLAIN (ANALYZE, TIMING OFF)
            SELECT ST_Contains(a.g, f.g) FROM fix f JOIN area a USING (id);
        EXPLAIN (ANALYZE, TIMING OFF)
            SELECT ST_Distance(a.g, f.g) FROM fix f JOIN line a USING (id);
    """  # noqa: S608 - see above
    done = subprocess.run(
        [program, "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", connection],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return [f"PostGIS: {done.stderr.strip().splitlines()[0]}"], {}
    spent_ms = [float(ms) for ms in re.findall(r"Execution Time: ([0-9.]+) ms", done.stdout)]
    names = ("ST_Contains", "ST_Distance to the boundary")
    lines = [
        f"PostGIS {name}: {1000.0 * ms / len(checks.zone):.1f} us each"
        for name, ms in zip(names, spent_ms, strict=True)
    ]
    return lines, {"postgis": done.stdout.splitlines()[0]}
