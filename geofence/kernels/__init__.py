"""Kernels: projection, signed distance, segments. Plain arrays in, integers out.

Call signatures (final). `zones` is the tuple that `ZoneSet.arrays()` returns (opaque; take it anew after every `put` or
`remove`), `zone` the index that `ZoneSet.put` returned. Coordinates in a plane are int64 millimetres, positions int degrees x 1e7,
distances int64 millimetres, tolerances float metres. Positive is INSIDE. All are callable from other kernels and from Python.

from geofence.kernels.projection import ...
    rd_from_wgs84(lat_e7, lon_e7) -> (x_mm, y_mm)                EPSG:28992, valid on the whole earth but its antipode
    rd_from_wgs84_many(lat_e7[], lon_e7[], x_mm[], y_mm[])       fills two int64 arrays
    chord_mm(lat1_e7, lon1_e7, lat2_e7, lon2_e7) -> mm           distance of a pair (straight line through ECEF)
from geofence.kernels.distance import ...
    is_rd(zones, zone) -> bool                                   True: the zone's plane is RD, one projection serves them all
    project(zones, zone, lat_e7, lon_e7) -> (x_mm, y_mm)         into the plane of this zone (RD or a local one)
    signed_distance(zones, zone, x_mm, y_mm, tolerance_m) -> mm
    signed_distance_wgs84(zones, zone, lat_e7, lon_e7, tolerance_m) -> mm
    contains(zones, zone, x_mm, y_mm) -> bool                    the sign alone, cheaper
from geofence.kernels.segment import ...
    segment_depth(zones, zone, x0_mm, y0_mm, x1_mm, y1_mm, tolerance_m) -> mm
    segment_depth_wgs84(zones, zone, lat0_e7, lon0_e7, lat1_e7, lon1_e7, tolerance_m) -> mm
    segment_cannot_touch(sd0_mm, sd1_mm, length_mm) -> bool      the free test with the signed distances of both ends

Meaning of an answer `r` of signed_distance: the sign is always right (0 = on the boundary). |r| <= tolerance: r is exact (to the
millimetre). |r| > tolerance: |r| is a lower bound of the true distance, itself larger than the tolerance. tolerance_m =
EXACT (infinity) asks for the exact distance everywhere. segment_depth is the largest signed distance along the straight segment,
with the same meaning: > 0 means that the segment passes through the interior, < 0 is minus the distance from segment to zone.
An index that is free (removed zone) answers NOWHERE_MM (far outside).
"""
