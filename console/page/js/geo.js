// Small geometry on a sphere, good to tens of kilometres. Degrees are x 1e7 unless said otherwise.

const EARTH_M = 6_371_008.8;
const rad = Math.PI / 180;

/** Metres between two places. */
export function distance(lat1, lon1, lat2, lon2) {
  const middle = ((lat1 + lat2) / 2e7) * rad;
  const east = ((lon2 - lon1) / 1e7) * rad * Math.cos(middle);
  const north = ((lat2 - lat1) / 1e7) * rad;
  return Math.hypot(east, north) * EARTH_M;
}

/** A place so many metres east and north of another, in degrees: [lon, lat]. */
export function moved(lonDeg, latDeg, east, north) {
  return [lonDeg + east / EARTH_M / Math.cos(latDeg * rad) / rad, latDeg + north / EARTH_M / rad];
}

/** A circle as a ring of [lon, lat]. */
export function circle(lonDeg, latDeg, radius, points = 48) {
  const ring = [];
  for (let i = 0; i <= points; i += 1) {
    const angle = (2 * Math.PI * i) / points;
    ring.push(moved(lonDeg, latDeg, radius * Math.sin(angle), radius * Math.cos(angle)));
  }
  return ring;
}

/** The box around places: [[west, south], [east, north]]; null for none. */
export function box(places) {
  if (!places.length) return null;
  const lons = places.map((one) => one[0]);
  const lats = places.map((one) => one[1]);
  return [
    [Math.min(...lons), Math.min(...lats)],
    [Math.max(...lons), Math.max(...lats)],
  ];
}

/** All places of a GeoJSON geometry, feature or collection. */
export function placesOf(geometry) {
  if (!geometry) return [];
  if (geometry.type === "FeatureCollection") return geometry.features.flatMap((one) => placesOf(one));
  if (geometry.type === "Feature") return placesOf(geometry.geometry);
  if (geometry.type === "GeometryCollection") return geometry.geometries.flatMap(placesOf);
  const flat = (list) => (typeof list[0] === "number" ? [list] : list.flatMap(flat));
  return flat(geometry.coordinates);
}

/** A zone of the API as a GeoJSON geometry. */
export function zoneGeometry(zone) {
  if (zone.geometry) return zone.geometry;
  const { lat_e7: lat, lon_e7: lon, radius_m: radius } = zone.circle;
  return { type: "Polygon", coordinates: [circle(lon / 1e7, lat / 1e7, radius, 72)] };
}

/** Lines of a grid of `step` metres over a box, as [lon, lat] pairs. */
export function grid([[west, south], [east, north]], step) {
  const lines = [];
  const latStep = step / EARTH_M / rad;
  const middle = (south + north) / 2;
  const lonStep = latStep / Math.cos(middle * rad);
  for (let lat = Math.floor(south / latStep) * latStep; lat < north; lat += latStep) lines.push([[west, lat], [east, lat]]);
  for (let lon = Math.floor(west / lonStep) * lonStep; lon < east; lon += lonStep) lines.push([[lon, south], [lon, north]]);
  return lines;
}

/** An area that covers a place without showing it: an uneven ring around a middle that lies elsewhere.

The place is somewhere inside, at least a tenth of the radius from the edge, and never kept. */
export function coverArea(lonDeg, latDeg, radius, random = Math.random) {
  const away = radius * (0.25 + 0.4 * random());
  const angle = 2 * Math.PI * random();
  const middle = moved(lonDeg, latDeg, away * Math.sin(angle), away * Math.cos(angle));
  const ring = [];
  const corners = 11;
  for (let i = 0; i < corners; i += 1) {
    const turn = (2 * Math.PI * (i + 0.6 * (random() - 0.5))) / corners;
    const far = radius * (0.95 + 0.25 * random());
    ring.push(moved(middle[0], middle[1], far * Math.sin(turn), far * Math.cos(turn)));
  }
  ring.reverse();
  ring.push(ring[0]);
  return { type: "Polygon", coordinates: [ring] };
}
