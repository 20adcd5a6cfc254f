"""Kernels: projection, signed distance, segments. Plain arrays in, integers out.

`zones` is the tuple of arrays that `ZoneSet.arrays()` returns, to be taken anew after every `put`
or `remove`; `zone` the index that `ZoneSet.put` returned. Coordinates in a plane are int64
millimetres, positions int degrees x 1e7, distances int64 millimetres, tolerances float metres.
Positive is INSIDE. All can be called from other kernels; from Python call those marked *, whose
machine code is kept on disk.

projection
    rd_from_wgs84(lat_e7, lon_e7) -> (x_mm, y_mm) *
        EPSG:28992; defined on the whole earth.
    rd_from_wgs84_many(lat_e7[], lon_e7[], x_mm[], y_mm[]) *
        Fills two int64 arrays; seven times as fast for each.
    chord_mm(lat1_e7, lon1_e7, lat2_e7, lon2_e7) -> mm *
        Distance of a pair, the straight line through the earth.
distance
    is_rd(zones, zone) -> bool
        Whether the zone's plane is RD, where one projection serves them all.
    project(zones, zone, lat_e7, lon_e7) -> (x_mm, y_mm) *
        Into the plane of this zone, RD or a local one.
    signed_distance(zones, zone, x_mm, y_mm, tolerance_m) -> mm
    signed_distance_wgs84(zones, zone, lat_e7, lon_e7, tolerance_m) -> mm *
    contains(zones, zone, x_mm, y_mm) -> bool
        The sign alone, for those who need no distance.
batch
    signed_distance_many(zones, index[], x_mm[], y_mm[], tolerance_m[], distance_mm[]) *
    contains_many(zones, index[], x_mm[], y_mm[], inside[]) *
        The same answers; cold zones wait for memory together.
segment
    segment_depth(zones, zone, x0_mm, y0_mm, x1_mm, y1_mm, tolerance_m) -> mm
    segment_depth_wgs84(zones, zone, lat0_e7, lon0_e7, lat1_e7, lon1_e7, tolerance_m) -> mm *
    segment_depth_many(zones, index[], x0_mm[], y0_mm[], x1_mm[], y1_mm[], tolerance_m[], mm[]) *
    segment_cannot_touch(sd0_mm, sd1_mm, length_mm) -> bool
        The free test with the signed distances of both ends, or bounds of them.
elementary
    sin_cos_degrees, arctan2, log, exp, tanh, normal_cdf: the same bits on every processor.

The sign of a signed distance is always right; 0 is on the boundary, to the millimetre. An answer
up to the tolerance is exact to the millimetre. One beyond the tolerance is a lower bound of the
true distance, itself beyond the tolerance; a tolerance of arrays.EXACT leaves no bounds. The same
holds for segment_depth, the greatest signed distance along a straight segment: above 0 it passes
through the interior, below 0 it is minus the distance of segment and zone. The index of a removed
zone answers arrays.NOWHERE_MM.
"""
