//! Geo indexes: points sorted along a space-filling curve.
//!
//! Each point lies in a cell of a 2^32 by 2^32 grid of the map. Cells are sorted by their number on the Z curve,
//! so the points of any square whose side is a power of two stand together. A query descends from the whole map to
//! the squares that its bounds touch, and checks the exact coordinates of the points in the last, small ones.

use lodestone_types::{GeoPoint, Predicate, Result};
use roaring::RoaringBitmap;
use serde_json::Value;

use super::Taken;
use super::presence::Presence;
use super::section::{Blob, Section, SectionWriter};
use crate::codec::{Column, bitmap_of_rows, damaged};
use crate::geo::{Bounds, Shape, is_on_map, point_of};
use crate::matches::Matches;

/// Squares with at most so many points are checked point by point.
const SMALL: usize = 64;

#[derive(Debug, Default)]
pub(super) struct PlacesBuilder {
    entries: Vec<(u64, GeoPoint, u32)>,
}

impl PlacesBuilder {
    pub(super) fn add(&mut self, row: u32, value: &Value) -> Taken {
        match point_of(value) {
            Some(point) if is_on_map(point) => {
                let (x, y) = (grid(point.lon, 180.0), grid(point.lat, 90.0));
                self.entries.push((interleave(x, y), point, row));
                Taken::Held
            }
            Some(_) => Taken::Loose,
            None => Taken::Foreign,
        }
    }

    pub(super) fn finish(mut self, writer: &mut SectionWriter) {
        self.entries.sort_unstable_by_key(|(cell, _, row)| (*cell, *row));
        let entries = || self.entries.iter();
        writer.put(Blob::Cells, entries().flat_map(|(cell, _, _)| cell.to_le_bytes()).collect());
        writer.put(Blob::Lons, entries().flat_map(|(_, point, _)| point.lon.to_le_bytes()).collect());
        writer.put(Blob::Lats, entries().flat_map(|(_, point, _)| point.lat.to_le_bytes()).collect());
        writer.put(Blob::Rows, entries().flat_map(|(_, _, row)| row.to_le_bytes()).collect());
    }
}

/// The grid line at or before a coordinate of `-limit..=limit`.
fn grid(coordinate: f64, limit: f64) -> u32 {
    // The cast keeps what is off the map at its edge.
    ((coordinate + limit) / (2.0 * limit) * 4_294_967_296.0) as u32
}

/// Bits of `x` at even places, of `y` at odd ones.
fn interleave(x: u32, y: u32) -> u64 {
    spread(x) | spread(y) << 1
}

fn spread(n: u32) -> u64 {
    let mut n = u64::from(n);
    n = (n | n << 16) & 0x0000_ffff_0000_ffff;
    n = (n | n << 8) & 0x00ff_00ff_00ff_00ff;
    n = (n | n << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    n = (n | n << 2) & 0x3333_3333_3333_3333;
    (n | n << 1) & 0x5555_5555_5555_5555
}

/// Bounds on the grid, both ends included.
#[derive(Clone, Copy)]
struct Window {
    x: (u32, u32),
    y: (u32, u32),
}

impl Window {
    fn of(bounds: &Bounds) -> Self {
        Self {
            x: (grid(bounds.west, 180.0), grid(bounds.east, 180.0)),
            y: (grid(bounds.south, 90.0), grid(bounds.north, 90.0)),
        }
    }

    fn touches(&self, square: &Square) -> bool {
        let last = square.side_minus_one();
        square.x <= self.x.1
            && square.x.saturating_add(last) >= self.x.0
            && square.y <= self.y.1
            && square.y.saturating_add(last) >= self.y.0
    }
}

/// A square of the grid with a side of `2^level`, and the entries in it.
struct Square {
    x: u32,
    y: u32,
    level: u32,
    start: usize,
    end: usize,
}

impl Square {
    fn side_minus_one(&self) -> u32 {
        ((1_u64 << self.level) - 1) as u32
    }
}

#[derive(Debug, Clone)]
pub(super) struct PlacesReader {
    bound: u32,
    cells: Column<8>,
    lons: Column<8>,
    lats: Column<8>,
    rows: Column<4>,
}

impl PlacesReader {
    pub(super) fn open(section: &Section) -> Result<Self> {
        let cells = Column::<8>::open(section.get(Blob::Cells)?)?;
        let lons = Column::<8>::open(section.get(Blob::Lons)?)?;
        let lats = Column::<8>::open(section.get(Blob::Lats)?)?;
        let rows = Column::<4>::open(section.get(Blob::Rows)?)?;
        if [lons.len(), lats.len(), rows.len()] != [cells.len(); 3] {
            return Err(damaged("columns differ in length"));
        }
        Ok(Self { bound: section.rows(), cells, lons, lats, rows })
    }

    pub(super) fn rows(&self, predicate: &Predicate, presence: &Presence) -> Result<Option<Matches>> {
        let Some(shape) = Shape::of(predicate) else { return Ok(None) };
        let mut found = Vec::new();
        for bounds in shape.bounds() {
            self.visit(&Window::of(&bounds), |start, end| {
                let inside = (start..end).filter(|i| {
                    shape.contains(GeoPoint { lon: self.lons.get_f64(*i), lat: self.lats.get_f64(*i) })
                });
                found.extend(inside.map(|i| self.rows.get(i)));
            });
        }
        let rows: RoaringBitmap = bitmap_of_rows(found.into_iter(), self.bound);
        Ok(Some(Matches::with_perhaps(rows, presence.loose()?)))
    }

    pub(super) fn estimate(&self, predicate: &Predicate) -> Option<u64> {
        let mut count = 0;
        for bounds in Shape::of(predicate)?.bounds() {
            self.visit(&Window::of(&bounds), |start, end| count += (end - start) as u64);
        }
        Some(count)
    }

    /// Calls `each` with runs of entries that together hold all within the window.
    fn visit(&self, window: &Window, mut each: impl FnMut(usize, usize)) {
        let mut open = vec![Square { x: 0, y: 0, level: 32, start: 0, end: self.cells.len() }];
        while let Some(square) = open.pop() {
            if square.start >= square.end || !window.touches(&square) {
                continue;
            }
            if square.end - square.start <= SMALL || square.level == 0 {
                each(square.start, square.end);
            } else {
                self.split(&square, &mut open);
            }
        }
    }

    fn split(&self, square: &Square, open: &mut Vec<Square>) {
        let level = square.level - 1;
        let half = 1_u32 << level;
        let mut start = square.start;
        for quarter in 0..4_u32 {
            let (x, y) = (square.x + half * (quarter & 1), square.y + half * (quarter >> 1));
            // The last cell of the quarter: all lower bits set.
            let last = interleave(x, y) | ((1_u64 << (2 * level)) - 1);
            let end = self.cells.partition(start..square.end, |cells, i| cells.get(i) <= last);
            open.push(Square { x, y, level, start, end });
            start = end;
        }
    }
}
