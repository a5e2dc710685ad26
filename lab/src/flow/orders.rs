//! Orders from a seed: the same seed and count give the same orders on every machine and in every version of
//! [`GENERATOR`]. It does no I/O.
//!
//! The shape is that of the article's data: ids from 1, express and standard evenly at random, 1 to 10 items.

use serde::{Deserialize, Serialize};

use super::limits;

/// Changes whenever the same seed would give other orders.
pub const GENERATOR: u32 = 1;

/// How an order is to be delivered; it decides the order's way through the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Delivery {
    /// Through `q-order-express` into `express-outbox`.
    Express,
    /// Through `q-order-standard` into `standard-outbox`.
    Standard,
}

/// One position of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Number within the order, from 1.
    pub order_item_id: u32,
    /// Stock keeping unit.
    pub sku: String,
    /// Pieces.
    pub quantity: u32,
}

/// One order as the generator makes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// From 1; the name of its blob. Below 2^53, since Dapr passes numbers through float64.
    pub order_id: u64,
    /// A version 4 UUID by its shape, from the seed.
    pub order_guid: String,
    /// A sentence for people.
    pub description: String,
    /// The customer's first name.
    pub first_name: String,
    /// The customer's last name.
    pub last_name: String,
    /// Its way through the flow.
    pub delivery: Delivery,
    /// 1 to 10 positions.
    pub items: Vec<Item>,
}

impl Order {
    /// Index in [`crate::spec::OUTBOXES`] of the container that this order belongs into.
    pub const fn outbox(&self) -> usize {
        match self.delivery {
            Delivery::Express => 0,
            Delivery::Standard => 1,
        }
    }
}

/// Orders 1 to `count`, at most [`limits::ORDERS`].
pub fn generate(count: u64, seed: u64) -> impl Iterator<Item = Order> {
    (1..=count.min(limits::ORDERS)).map(move |id| order(seed, id))
}

/// Order `id` of `seed`. Every order stands alone, so that any of them can be made again without the ones before.
pub fn order(seed: u64, id: u64) -> Order {
    let mut random = SplitMix64(SplitMix64(seed).next() ^ SplitMix64(!id).next());
    let order_guid = guid(random.next(), random.next());
    let first_name = random.pick(&FIRST_NAMES).to_owned();
    let last_name = random.pick(&LAST_NAMES).to_owned();
    let delivery = if random.below(2) == 0 { Delivery::Express } else { Delivery::Standard };
    let items: Vec<_> = (1..=random.below(10) + 1).map(|number| item(&mut random, number)).collect();
    let description = format!(
        "{} {} {} in {}, {}; {}",
        random.pick(&CONDITIONS),
        random.pick(&COLOURS),
        random.pick(&GOODS),
        random.pick(&MATERIALS),
        random.pick(&REMARKS),
        random.pick(&WISHES),
    );
    Order { order_id: id, order_guid, description, first_name, last_name, delivery, items }
}

fn item(random: &mut SplitMix64, number: u32) -> Item {
    let letters: String = (0..3).map(|_| char::from(b'A' + random.below(26) as u8)).collect();
    let sku = format!("{letters}-{:06}-{}", random.below(1_000_000), random.pick(&SIZES));
    Item { order_item_id: number, sku, quantity: random.below(20) + 1 }
}

/// RFC 9562, section 5.4: version 4 in the 13th digit, variant 10 in the 17th.
fn guid(high: u64, low: u64) -> String {
    let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, (high & 0x0fff) | 0x4000);
    let (d, e) = (((low >> 48) & 0x3fff) | 0x8000, low & 0xffff_ffff_ffff);
    format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014). Ten lines of our own rather than a
/// crate, since a crate may change its stream from one version to the next and the data set must not.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Evenly from `0..bound`, up to a bias of bound / 2^32 that no test of ours could see.
    fn below(&mut self, bound: u32) -> u32 {
        ((u64::from((self.next() >> 32) as u32) * u64::from(bound)) >> 32) as u32
    }

    fn pick<'a, const N: usize>(&mut self, words: &[&'a str; N]) -> &'a str {
        words.get(self.below(N as u32) as usize).copied().unwrap_or_default()
    }
}

const FIRST_NAMES: [&str; 32] = [
    "Ada", "Amina", "Anders", "Beatriz", "Bruno", "Chen", "Clara", "Dmitri", "Elif", "Emil", "Fatou",
    "Felix", "Grace", "Hana", "Ines", "Ivan", "Jonas", "Kofi", "Lena", "Liam", "Mara", "Mateo", "Nadia",
    "Noah", "Olga", "Priya", "Rafael", "Sofia", "Tariq", "Uma", "Yara", "Zoë",
];
const LAST_NAMES: [&str; 32] = [
    "Abebe", "Almeida", "Bauer", "Becker", "Bianchi", "Cohen", "Costa", "Diallo", "Dubois", "Eriksen",
    "Fischer", "García", "Haddad", "Hansen", "Ito", "Jensen", "Kaya", "Kim", "Kowalski", "Larsen", "Meyer",
    "Moreau", "Müller", "Nakamura", "Novak", "O'Brien", "Okafor", "Petrov", "Rossi", "Silva", "Tanaka",
    "Weber",
];
const CONDITIONS: [&str; 8] =
    ["Handcrafted", "Refined", "Rustic", "Practical", "Ergonomic", "Recycled", "Licensed", "Lightweight"];
const COLOURS: [&str; 8] = ["azure", "crimson", "ivory", "olive", "teal", "amber", "violet", "graphite"];
const GOODS: [&str; 12] = [
    "chairs",
    "lamps",
    "keyboards",
    "bicycles",
    "tables",
    "gloves",
    "shirts",
    "bowls",
    "shelves",
    "helmets",
    "backpacks",
    "clocks",
];
const MATERIALS: [&str; 8] = ["oak", "steel", "cotton", "bamboo", "granite", "wool", "aluminium", "cork"];
const REMARKS: [&str; 8] = [
    "packed for one journey and to be opened by the addressee only",
    "with the assembly guide and the tools that it asks for",
    "to be left with a neighbour when nobody answers the door",
    "a gift, so please put no price on the outside of the parcel",
    "second delivery after the first one had arrived damaged",
    "part of a larger order whose other parcels follow next week",
    "invoice to the address on file, goods to the address given",
    "ordered by phone and confirmed by the customer in writing",
];
const WISHES: [&str; 8] = [
    "the carrier is asked to call an hour before the delivery",
    "any day of the coming week is fine, mornings are preferred",
    "please ring at the second door, the bell at the gate is broken",
    "no signature is needed when the parcel fits into the box",
    "a receipt by letter is asked for in addition to the one by mail",
    "the packaging may be taken back by the driver where possible",
    "deliver all positions together even when one of them is late",
    "the recipient speaks English, German and some Portuguese",
];
const SIZES: [&str; 6] = ["XS", "S", "M", "L", "XL", "XXL"];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn same_seed_same_orders_other_seed_other_orders() {
        let first: Vec<_> = generate(500, 7).collect();
        let shorter: Vec<_> = generate(20, 7).collect();
        assert_eq!(first[..20], shorter[..]);
        assert!(generate(500, 7).eq(first.iter().cloned()));
        assert!(generate(500, 8).zip(&first).all(|(other, one)| other.order_guid != one.order_guid));
    }

    #[test]
    fn the_stream_is_that_of_the_paper() {
        let mut random = SplitMix64(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn shape_of_the_article() {
        let orders: Vec<_> = generate(10_000, 42).collect();
        assert!(orders.iter().map(|order| order.order_id).eq(1..=10_000));
        let express = orders.iter().filter(|order| order.delivery == Delivery::Express).count();
        assert!((4_800..=5_200).contains(&express), "{express} of 10,000 are express");
        let mut sizes = [0; 11];
        for order in &orders {
            sizes[order.items.len()] += 1;
            assert!(order.items.iter().map(|item| item.order_item_id).eq(1..=order.items.len() as u32));
            assert!(order.items.iter().all(|item| (1..=20).contains(&item.quantity)));
        }
        assert_eq!(sizes[0], 0);
        assert!(sizes[1..].iter().all(|count| (850..=1_150).contains(count)), "{sizes:?}");
        let guids: HashSet<_> = orders.iter().map(|order| order.order_guid.as_str()).collect();
        assert_eq!(guids.len(), orders.len());
        let bytes: usize = orders.iter().map(|order| serde_json::to_string(order).unwrap().len()).sum();
        assert!((550..=750).contains(&(bytes / orders.len())), "{} bytes an order", bytes / orders.len());
    }

    #[test]
    fn guids_have_version_and_variant() {
        for order in generate(1_000, 3) {
            let guid = order.order_guid.as_bytes();
            assert_eq!(guid.len(), 36);
            assert_eq!(guid[14], b'4');
            assert!(b"89ab".contains(&guid[19]), "{}", order.order_guid);
        }
    }

    #[test]
    fn no_more_than_the_bound() {
        assert_eq!(generate(u64::MAX, 1).size_hint().0, limits::ORDERS as usize);
    }
}
