//! The shop floor: where labels and gateways are, and who hears whom.
//!
//! Labels stand on shelves in parallel aisles, gateways hang in a grid from the ceiling. How strongly a gateway hears a
//! label follows the log-distance path loss model (T. S. Rappaport, *Wireless Communications*, 2nd ed., 4.9.1):
//! the mean falls by 10·n·log10(d) dB over d metres, and shadowing scatters it normally. Who hears whom is decided by the
//! mean alone, so that it changes only when something moves.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;

/// Mean strength at a distance of one metre.
const DBM_AT_ONE_METRE: f64 = -45.0;
/// How fast it falls: between free space (2) and a building full of walls (4).
const PATH_LOSS_EXPONENT: f64 = 2.7;
/// The weakest that a gateway hears: some 18 m away.
const SENSITIVITY_DBM: f64 = -79.0;
/// A label is heard by at most so many gateways.
const MAX_HEARERS: usize = 3;
/// Gateways hang so far from each other, so that each spot is in reach of one at least, and of two on average.
const GATEWAY_SPACING_M: f64 = 20.0;
const CEILING_M: f64 = 4.0;
const AISLE_M: f64 = 2.5;
const SHELF_HEIGHTS_M: [f64; 5] = [0.3, 0.7, 1.1, 1.5, 1.9];

/// A place in the shop, in metres.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Point {
    /// Along the aisles.
    pub x: f64,
    /// Across the aisles.
    pub y: f64,
    /// Above the floor.
    pub z: f64,
}

/// A gateway that hears a label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hearer {
    /// The gateway's index.
    pub gateway: usize,
    /// How strongly it hears the label on average.
    pub mean_dbm: f64,
}

/// Where a label is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Where the floor plan has it.
    Home,
    /// A metre below a gateway.
    Near(usize),
    /// Out of reach of all.
    Nowhere,
}

/// Where everything is. Labels and gateways go by their index.
#[derive(Debug, Clone, PartialEq)]
pub struct Floor {
    gateways: Vec<Point>,
    homes: Vec<Point>,
    positions: Vec<Option<Point>>,
    heard_by: Vec<Vec<Hearer>>,
    hears: Vec<BTreeMap<usize, f64>>,
}

impl Floor {
    /// The plan for so many gateways and labels; the same seed gives the same plan.
    pub fn new(gateways: usize, labels: usize, seed: u64) -> Self {
        let columns = (gateways as f64).sqrt().ceil().max(1.0) as usize;
        let rows = gateways.div_ceil(columns);
        let hangs = |index: usize| Point {
            x: ((index % columns) as f64 + 0.5) * GATEWAY_SPACING_M,
            y: ((index / columns) as f64 + 0.5) * GATEWAY_SPACING_M,
            z: CEILING_M,
        };
        let (width, depth) = (columns as f64 * GATEWAY_SPACING_M, rows as f64 * GATEWAY_SPACING_M);
        let mut floor = Self {
            gateways: (0..gateways).map(hangs).collect(),
            homes: shelve(labels, width, depth, seed),
            positions: vec![None; labels],
            heard_by: vec![Vec::new(); labels],
            hears: vec![BTreeMap::new(); gateways],
        };
        for label in 0..labels {
            floor.put(label, Place::Home);
        }
        floor
    }

    /// Puts a label somewhere else.
    pub fn put(&mut self, label: usize, place: Place) {
        let position = match place {
            Place::Home => Some(self.homes[label]),
            Place::Near(gateway) => Some(Point { z: CEILING_M - 1.0, ..self.gateways[gateway] }),
            Place::Nowhere => None,
        };
        for hearer in std::mem::take(&mut self.heard_by[label]) {
            self.hears[hearer.gateway].remove(&label);
        }
        self.positions[label] = position;
        self.heard_by[label] = position.map(|position| hearers(&self.gateways, position)).unwrap_or_default();
        for hearer in &self.heard_by[label] {
            self.hears[hearer.gateway].insert(label, hearer.mean_dbm);
        }
    }

    /// Where a label is, unless out of reach of all.
    pub fn position(&self, label: usize) -> Option<Point> {
        self.positions[label]
    }

    /// Who hears a label, the strongest first.
    pub fn heard_by(&self, label: usize) -> &[Hearer] {
        &self.heard_by[label]
    }

    /// Which labels a gateway hears, each with its mean strength in dBm.
    pub fn hears(&self, gateway: usize) -> &BTreeMap<usize, f64> {
        &self.hears[gateway]
    }
}

/// Mean strength in dBm at a distance in metres: the log-distance path loss model.
pub fn mean_dbm(distance_m: f64) -> f64 {
    // Nearer than a metre the model does not hold.
    DBM_AT_ONE_METRE - 10.0 * PATH_LOSS_EXPONENT * distance_m.max(1.0).log10()
}

fn hearers(gateways: &[Point], position: Point) -> Vec<Hearer> {
    let hear = |(gateway, at): (usize, &Point)| Hearer { gateway, mean_dbm: mean_dbm(distance(*at, position)) };
    let mut hearers: Vec<_> = gateways.iter().enumerate().map(hear).collect();
    hearers.sort_by(|a, b| b.mean_dbm.total_cmp(&a.mean_dbm));
    let in_reach = hearers.iter().take_while(|hearer| hearer.mean_dbm >= SENSITIVITY_DBM).count();
    // A grid that is not full leaves a corner of the floor bare: there the nearest stretches.
    hearers.truncate(in_reach.clamp(1, MAX_HEARERS));
    // Room for all gateways, for each of 50,000 labels, would be most of the emulator's memory.
    hearers.shrink_to_fit();
    hearers
}

fn distance(a: Point, b: Point) -> f64 {
    ((a.x - b.x).powi(2) + (a.y - b.y).powi(2) + (a.z - b.z).powi(2)).sqrt()
}

/// Spreads labels evenly over all shelves of a hall.
fn shelve(labels: usize, width: f64, depth: f64, seed: u64) -> Vec<Point> {
    let mut random = StdRng::seed_from_u64(seed);
    let aisles = ((depth / AISLE_M) as usize).max(1);
    let per_aisle = labels.div_ceil(aisles).max(1);
    let stacks = per_aisle.div_ceil(SHELF_HEIGHTS_M.len());
    let pitch = width / stacks as f64;
    let stand = |label: usize| {
        let (aisle, slot) = (label / per_aisle, label % per_aisle);
        // Nobody shelves by the ruler.
        let askew = random.random_range(-0.4..0.4) * pitch;
        Point {
            x: ((slot / SHELF_HEIGHTS_M.len()) as f64 + 0.5) * pitch + askew,
            y: (aisle as f64 + 0.5) * AISLE_M,
            z: SHELF_HEIGHTS_M[slot % SHELF_HEIGHTS_M.len()],
        }
    };
    (0..labels).map(stand).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strength_falls_by_27_db_per_decade() {
        assert!((mean_dbm(1.0) - -45.0).abs() < 1e-9);
        assert!((mean_dbm(10.0) - -72.0).abs() < 1e-9);
        assert!((mean_dbm(0.01) - -45.0).abs() < 1e-9);
    }

    #[test]
    fn every_label_is_heard_by_one_to_three_gateways() {
        for (gateways, labels) in [(1, 10), (3, 100), (10, 2000), (50, 5000)] {
            let floor = Floor::new(gateways, labels, 1);
            let mut by_count = [0; MAX_HEARERS + 1];
            for label in 0..labels {
                by_count[floor.heard_by(label).len()] += 1;
            }
            assert_eq!(by_count[0], 0);
            if gateways >= 10 {
                assert!(by_count[1..].iter().all(|count| count * 10 >= labels), "{gateways}: {by_count:?}");
            }
            assert!((0..gateways).all(|gateway| !floor.hears(gateway).is_empty()), "{gateways} gateways");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        assert_eq!(Floor::new(10, 500, 4), Floor::new(10, 500, 4));
        assert_ne!(Floor::new(10, 500, 4), Floor::new(10, 500, 5));
    }

    #[test]
    fn a_label_that_moves_is_heard_elsewhere_and_comes_home() {
        let mut floor = Floor::new(10, 100, 1);
        let before = floor.clone();
        floor.put(7, Place::Near(9));
        assert_eq!(floor.heard_by(7)[0], Hearer { gateway: 9, mean_dbm: -45.0 });
        assert!(floor.hears(9).contains_key(&7));
        floor.put(7, Place::Nowhere);
        assert!(floor.heard_by(7).is_empty() && (0..10).all(|gateway| !floor.hears(gateway).contains_key(&7)));
        floor.put(7, Place::Home);
        assert_eq!(floor, before);
    }
}
