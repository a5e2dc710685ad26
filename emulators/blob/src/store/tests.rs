use super::*;
use crate::checksum::Hasher;
use crate::content::{Content, Part};

fn store_with(limit_bytes: u64) -> Store {
    let store = Store::new("acc", &Shared::new(limit_bytes));
    store.create_container("box", Metadata::default(), PublicAccess::None, 1).expect("room for a container");
    store
}

fn received(room: Reservation, content: &str) -> Received {
    let part = Part::Memory(bytes::Bytes::copy_from_slice(content.as_bytes()));
    let parts = if content.is_empty() { Vec::new() } else { vec![part] };
    Received { content: Content::new(parts), checksums: Hasher::new().finish(), room }
}

fn new_blob(store: &Store, content: &str) -> NewBlob {
    NewBlob { received: received(store.shared.budget.reserve(), content), about: Description::default() }
}

/// What the only part of the blob `a` has.
fn text_of_a(store: &Store) -> String {
    let blob = store.container("box").expect("there").get("a").expect("there");
    match blob.content.parts() {
        [Part::Memory(bytes)] => String::from_utf8_lossy(bytes).into_owned(),
        parts => panic!("{parts:?}"),
    }
}

fn put(store: &Store, name: &str, content: &str) -> Result<Arc<Blob>, StorageError> {
    store
        .put_blob("box", name, new_blob(store, content), &Conditions::default(), 7)
        .map(|written| written.blob)
}

fn names(page: &BlobPage) -> Vec<String> {
    let name = |entry: &ListEntry| match entry {
        ListEntry::Blob(name, _) => name.to_string(),
        ListEntry::Uncommitted(name) => format!("({name})"),
        ListEntry::Prefix(prefix) => format!("[{prefix}]"),
    };
    page.entries.iter().map(name).collect()
}

fn list(store: &Store, range: &ListRange) -> BlobPage {
    store.container("box").expect("it was created").list(range)
}

#[test]
fn pages_follow_each_other_without_gap_or_overlap() {
    let store = store_with(1 << 20);
    for name in ["b2", "a", "b1", "b3", "c", "b"] {
        put(&store, name, "x").expect("room");
    }
    let mut range = ListRange { prefix: "b".to_owned(), max_results: 2, ..ListRange::default() };
    let first = list(&store, &range);
    assert_eq!(names(&first), ["b", "b1"]);
    range.from = first.next.map(|name| name.to_string());
    let second = list(&store, &range);
    assert_eq!(names(&second), ["b2", "b3"]);
    assert_eq!(second.next, None);
}

#[test]
fn a_marker_before_the_prefix_changes_nothing_and_one_behind_it_finds_nothing() {
    let store = store_with(1 << 20);
    put(&store, "m1", "x").expect("room");
    let at = |from: &str| ListRange {
        prefix: "m".to_owned(),
        from: Some(from.to_owned()),
        max_results: 9,
        ..ListRange::default()
    };
    assert_eq!(names(&list(&store, &at("a"))), ["m1"]);
    assert!(names(&list(&store, &at("z"))).is_empty());
}

#[test]
fn a_delimiter_folds_names_and_pages_go_on_behind_the_fold() {
    let store = store_with(1 << 20);
    for name in ["d/1", "d/2", "d/e/3", "e", "f/1"] {
        put(&store, name, "x").expect("room");
    }
    let mut range = ListRange { delimiter: Some("/".to_owned()), max_results: 2, ..ListRange::default() };
    let first = list(&store, &range);
    assert_eq!(names(&first), ["[d/]", "e"]);
    range.from = first.next.map(|name| name.to_string());
    assert_eq!(names(&list(&store, &range)), ["[f/]"]);
    let inside = ListRange { prefix: "d/".to_owned(), from: None, ..range };
    assert_eq!(names(&list(&store, &ListRange { max_results: 9, ..inside })), ["d/1", "d/2", "[d/e/]"]);
}

#[test]
fn tags_differ_though_the_clock_stands_still_and_creation_is_kept() {
    let store = store_with(1 << 20);
    let first = put(&store, "a", "1").expect("room");
    let second =
        store.put_blob("box", "a", new_blob(&store, "2"), &Conditions::default(), 9).expect("room").blob;
    let third = put(&store, "b", "3").expect("room");
    assert!(first.etag != second.etag && second.etag != third.etag && first.etag != third.etag);
    assert_eq!((second.created_us, second.modified_us), (7, 9));
}

#[test]
fn a_failed_condition_leaves_the_old_blob() {
    let store = store_with(1 << 20);
    put(&store, "a", "old").expect("room");
    let only_new = Conditions { if_none_match: Some(TagMatch::Any), ..Conditions::default() };
    let refused = store.put_blob("box", "a", new_blob(&store, "new"), &only_new, 8);
    assert!(matches!(refused, Err(StorageError::BlobAlreadyExists)));
    assert_eq!(text_of_a(&store), "old");
}

/// What a blob of one part counts besides its bytes, with a name of one character.
const WEIGHT: u64 = limits::OVERHEAD_BYTES + size_of::<Part>() as u64 + 1;

#[test]
fn the_memory_limit_refuses_keeps_the_old_blob_and_deleting_makes_room() {
    let store = store_with(limits::OVERHEAD_BYTES + WEIGHT + 9);
    put(&store, "a", "12345").expect("fits");
    assert!(matches!(put(&store, "b", ""), Err(StorageError::MemoryLimit { .. })));
    assert!(matches!(put(&store, "a", "1234567890"), Err(StorageError::MemoryLimit { .. })));
    assert_eq!(text_of_a(&store), "12345");
    store.delete_blob("box", "a", &Conditions::default()).expect("it is there");
    put(&store, "b", "12345").expect("fits again");
    store.delete_container("box", &Conditions::default()).expect("it is there");
    assert_eq!(store.shared.budget.used_bytes(), 0);
}

#[test]
fn what_arrives_counts_until_it_is_dropped_or_stored() {
    let store = store_with(limits::OVERHEAD_BYTES + WEIGHT + 9);
    let (mut first, mut second) = (store.shared.budget.reserve(), store.shared.budget.reserve());
    first.grow(WEIGHT).expect("fits");
    first.grow(6).expect("fits");
    assert!(matches!(second.grow(5), Err(StorageError::MemoryLimit { .. })), "the first is still arriving");
    drop(first);
    second.grow(6).expect("the first gave its room back");
    let new = NewBlob { received: received(second, "123456"), about: Description::default() };
    store.put_blob("box", "a", new, &Conditions::default(), 7).expect("fits");
    assert_eq!(store.shared.budget.used_bytes(), limits::OVERHEAD_BYTES + WEIGHT + 6, "counted once");

    let mut third = store.shared.budget.reserve();
    third.grow(3).expect("fits");
    let only_new = Conditions { if_none_match: Some(TagMatch::Any), ..Conditions::default() };
    let new = NewBlob { received: received(third, "123"), about: Description::default() };
    assert!(store.put_blob("box", "a", new, &only_new, 8).is_err(), "it is there");
    let used_bytes = store.shared.budget.used_bytes();
    assert_eq!(used_bytes, limits::OVERHEAD_BYTES + WEIGHT + 6, "what was refused counts no more");
}

#[test]
fn blocks_that_wait_count_and_are_a_blob_only_once_they_are_listed() {
    let store = store_with(1 << 20);
    let empty = store.shared.budget.used_bytes();
    let block = |text| received(store.shared.budget.reserve(), text);
    store.stage_block("box", "a", "MQ==", block("one")).expect("room");
    store.stage_block("box", "a", "Mg==", block("two")).expect("room");
    store.stage_block("box", "a", "Mg==", block("TWO")).expect("in the place of the other");
    assert_eq!(store.stage_block("box", "a", "MTA=", block("x")), Err(StorageError::InvalidBlobOrBlock));
    let container = store.container("box").expect("there");
    assert!(container.get("a").is_none());
    let all = ListRange { max_results: 9, ..ListRange::default() };
    assert!(names(&list(&store, &all)).is_empty());
    assert_eq!(names(&list(&store, &ListRange { uncommitted: true, ..all })), ["(a)"]);

    let listed = |from, id: &str| ListedBlock { from, id: id.into() };
    let commit = |list: &[ListedBlock]| {
        let (about, conditions) = (Description::default(), Conditions::default());
        store.commit_blocks(("box", "a"), list, about, &conditions, 9).map(|written| written.blob)
    };
    let wrong = [listed(BlockSource::Committed, "MQ==")];
    assert!(matches!(commit(&wrong), Err(StorageError::InvalidBlockList)));
    let twice = [listed(BlockSource::Latest, "Mg=="), listed(BlockSource::Uncommitted, "Mg==")];
    let blob = commit(&twice).expect("both wait");
    assert_eq!((blob.size_bytes(), blob.blocks.len()), (6, 2));
    assert!(matches!(
        commit(&[listed(BlockSource::Uncommitted, "MQ==")]),
        Err(StorageError::InvalidBlockList)
    ));
    assert_eq!(commit(&[listed(BlockSource::Latest, "Mg==")]).expect("it is committed").size_bytes(), 3);
    store.delete_blob("box", "a", &Conditions::default()).expect("it is there");
    assert_eq!(store.shared.budget.used_bytes(), empty);
}

#[test]
fn what_is_not_there_is_named() {
    let store = store_with(1 << 20);
    assert!(matches!(store.container("none"), Err(StorageError::ContainerNotFound)));
    let nothing = store.delete_blob("box", "none", &Conditions::default());
    assert!(matches!(nothing, Err(StorageError::BlobNotFound)));
    let nothing = store.delete_container("none", &Conditions::default());
    assert!(matches!(nothing, Err(StorageError::ContainerNotFound)));
}
