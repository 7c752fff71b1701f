//! Shapes on the globe: whether a point lies within, and the boxes that enclose them.
//!
//! Borders do not belong to a shape: a point on the edge of a box, of a circle or of a polygon is outside, and a
//! point on the edge of a polygon's hole too.

use lodestone_types::{GeoPoint, Predicate};
use serde_json::Value;

/// Mean radius of the earth in metres (IUGG).
const EARTH_RADIUS: f64 = 6_371_008.8;

/// What a geo predicate asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    Box { top_left: GeoPoint, bottom_right: GeoPoint },
    Circle { center: GeoPoint, radius: f64 },
    Polygon { exterior: Vec<GeoPoint>, interiors: Vec<Vec<GeoPoint>> },
}

/// Closed bounds that enclose a shape; `west <= east`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) west: f64,
    pub(crate) east: f64,
    pub(crate) south: f64,
    pub(crate) north: f64,
}

/// The point that a payload value describes, if it is one.
pub(crate) fn point_of(value: &Value) -> Option<GeoPoint> {
    let object = value.as_object()?;
    let lon = object.get("lon")?.as_f64()?;
    let lat = object.get("lat")?.as_f64()?;
    Some(GeoPoint { lon, lat })
}

/// Whether the point lies on the map: an index can give it a cell.
pub(crate) fn is_on_map(point: GeoPoint) -> bool {
    (-180.0..=180.0).contains(&point.lon) && (-90.0..=90.0).contains(&point.lat)
}

impl Shape {
    pub(crate) fn of(predicate: &Predicate) -> Option<Self> {
        match predicate {
            Predicate::GeoBox { top_left, bottom_right } => {
                Some(Shape::Box { top_left: *top_left, bottom_right: *bottom_right })
            }
            Predicate::GeoRadius { center, radius } => {
                Some(Shape::Circle { center: *center, radius: *radius })
            }
            Predicate::GeoPolygon { exterior, interiors } => {
                Some(Shape::Polygon { exterior: exterior.clone(), interiors: interiors.clone() })
            }
            _ => None,
        }
    }

    pub(crate) fn contains(&self, point: GeoPoint) -> bool {
        match self {
            Shape::Box { top_left, bottom_right } => in_box(point, *top_left, *bottom_right),
            Shape::Circle { center, radius } => distance(point, *center) < *radius,
            Shape::Polygon { exterior, interiors } => {
                side(point, exterior) == Side::Inside
                    && interiors.iter().all(|hole| side(point, hole) == Side::Outside)
            }
        }
    }

    /// Boxes that enclose all of the shape that is on the map; two where it crosses the antimeridian.
    pub(crate) fn bounds(&self) -> Vec<Bounds> {
        match self {
            Shape::Box { top_left, bottom_right } => {
                split_at_antimeridian(top_left.lon, bottom_right.lon, bottom_right.lat, top_left.lat)
            }
            Shape::Circle { center, radius } => circle_bounds(*center, *radius),
            Shape::Polygon { exterior, .. } => {
                let mut bounds: Option<Bounds> = None;
                for p in exterior {
                    let b =
                        bounds.get_or_insert(Bounds { west: p.lon, east: p.lon, south: p.lat, north: p.lat });
                    *b = Bounds {
                        west: b.west.min(p.lon),
                        east: b.east.max(p.lon),
                        south: b.south.min(p.lat),
                        north: b.north.max(p.lat),
                    };
                }
                bounds.into_iter().collect()
            }
        }
    }
}

fn in_box(point: GeoPoint, top_left: GeoPoint, bottom_right: GeoPoint) -> bool {
    let east_of_left = point.lon > top_left.lon;
    let west_of_right = point.lon < bottom_right.lon;
    let crosses = top_left.lon > bottom_right.lon;
    let longitude = if crosses { east_of_left || west_of_right } else { east_of_left && west_of_right };
    longitude && point.lat < top_left.lat && point.lat > bottom_right.lat
}

/// Great-circle distance in metres, by the haversine formula.
fn distance(a: GeoPoint, b: GeoPoint) -> f64 {
    let (lat_a, lat_b) = (a.lat.to_radians(), b.lat.to_radians());
    let half_lat = ((lat_b - lat_a) / 2.0).sin();
    let half_lon = ((b.lon.to_radians() - a.lon.to_radians()) / 2.0).sin();
    let h = half_lat * half_lat + lat_a.cos() * lat_b.cos() * half_lon * half_lon;
    2.0 * EARTH_RADIUS * h.sqrt().min(1.0).asin()
}

#[derive(Debug, PartialEq, Eq)]
enum Side {
    Inside,
    Outside,
    Border,
}

/// Where the point lies relative to a ring, on the flat map: counts the edges that a ray to the west crosses.
fn side(point: GeoPoint, ring: &[GeoPoint]) -> Side {
    let Some(&last) = ring.last() else { return Side::Outside };
    let mut inside = false;
    let mut from = last;
    for &to in ring {
        if from == to {
            continue;
        }
        if is_on_edge(point, from, to) {
            return Side::Border;
        }
        if (to.lon > point.lon) != (from.lon > point.lon) {
            let lat = (from.lat - to.lat) * (point.lon - to.lon) / (from.lon - to.lon) + to.lat;
            inside ^= point.lat < lat;
        }
        from = to;
    }
    if inside { Side::Inside } else { Side::Outside }
}

fn is_on_edge(point: GeoPoint, a: GeoPoint, b: GeoPoint) -> bool {
    let cross = point.lon * (a.lat - b.lat) + a.lon * (b.lat - point.lat) + b.lon * (point.lat - a.lat);
    cross == 0.0
        && (a.lat - point.lat) * (b.lat - point.lat) <= 0.0
        && (a.lon - point.lon) * (b.lon - point.lon) <= 0.0
}

fn circle_bounds(center: GeoPoint, radius: f64) -> Vec<Bounds> {
    let whole = Bounds { west: -180.0, east: 180.0, south: -90.0, north: 90.0 };
    if !is_on_map(center) {
        return vec![whole];
    }
    // A little wider than computed: rounding must not lose a point that the exact check would keep.
    let angle = radius / EARTH_RADIUS * (1.0 + 1e-9) + 1e-12;
    let reach = angle.to_degrees();
    let (south, north) = (center.lat - reach, center.lat + reach);
    let ratio = angle.sin() / center.lat.to_radians().cos();
    let has_pole = south <= -90.0
        || north >= 90.0
        || angle >= std::f64::consts::FRAC_PI_2
        || ratio.is_nan()
        || ratio >= 1.0;
    if has_pole {
        return vec![Bounds { south, north, ..whole }];
    }
    let width = ratio.asin().to_degrees() * (1.0 + 1e-9) + 1e-9;
    let (mut west, mut east) = (center.lon - width, center.lon + width);
    if east - west >= 360.0 {
        return vec![Bounds { south, north, ..whole }];
    }
    if west < -180.0 {
        west += 360.0;
    }
    if east > 180.0 {
        east -= 360.0;
    }
    split_at_antimeridian(west, east, south, north)
}

fn split_at_antimeridian(west: f64, east: f64, south: f64, north: f64) -> Vec<Bounds> {
    if west <= east {
        return vec![Bounds { west, east, south, north }];
    }
    vec![Bounds { west, east: 180.0, south, north }, Bounds { west: -180.0, east, south, north }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(lon: f64, lat: f64) -> GeoPoint {
        GeoPoint { lon, lat }
    }

    #[test]
    fn boxes_exclude_their_border_and_cross_the_antimeridian() {
        let plain = Shape::Box { top_left: p(0.0, 10.0), bottom_right: p(10.0, 0.0) };
        assert!(plain.contains(p(5.0, 5.0)));
        assert!(
            !plain.contains(p(0.0, 5.0)) && !plain.contains(p(5.0, 10.0)) && !plain.contains(p(11.0, 5.0))
        );
        let crossing = Shape::Box { top_left: p(170.0, 10.0), bottom_right: p(-170.0, 0.0) };
        assert!(crossing.contains(p(180.0, 5.0)) && crossing.contains(p(-175.0, 5.0)));
        assert!(!crossing.contains(p(0.0, 5.0)));
        assert_eq!(crossing.bounds().len(), 2);
    }

    #[test]
    fn circles_reach_over_the_antimeridian_and_the_pole() {
        let fiji = Shape::Circle { center: p(180.0, 5.0), radius: 112_000.0 };
        assert!(
            fiji.contains(p(179.0, 5.0)) && fiji.contains(p(-179.0, 5.0)) && !fiji.contains(p(178.0, 5.0))
        );
        let pole = Shape::Circle { center: p(0.0, 89.9), radius: 100_000.0 };
        assert!(pole.contains(p(180.0, 89.9)));
        assert_eq!(pole.bounds()[0].west, -180.0);
        let london_berlin = distance(p(-0.1278, 51.5074), p(13.405, 52.52));
        assert!((london_berlin - 931_000.0).abs() < 2_000.0, "{london_berlin}");
    }

    #[test]
    fn polygons_have_holes_and_no_border() {
        let square = |a: f64, b: f64| vec![p(a, a), p(b, a), p(b, b), p(a, b), p(a, a)];
        let ring = Shape::Polygon { exterior: square(0.0, 10.0), interiors: vec![square(2.0, 6.0)] };
        assert!(ring.contains(p(7.0, 7.0)) && ring.contains(p(1.0, 5.0)));
        for outside in [p(5.0, 5.0), p(5.0, 6.0), p(2.0, 2.0), p(0.0, 5.0), p(10.0, 10.0), p(11.0, 5.0)] {
            assert!(!ring.contains(outside), "{outside:?}");
        }
        assert!(!Shape::Polygon { exterior: vec![], interiors: vec![] }.contains(p(0.0, 0.0)));
    }
}
