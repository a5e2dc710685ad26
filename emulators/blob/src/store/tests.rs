use super::*;

fn store_with(limit_bytes: u64) -> Store {
    let store = Store::new(Arc::default(), Arc::new(Budget::new(limit_bytes)));
    store.create_container("box", Metadata::default(), PublicAccess::None, 1).expect("room for a container");
    store
}

fn new_blob(store: &Store, content: &str) -> NewBlob {
    NewBlob {
        content: bytes::Bytes::copy_from_slice(content.as_bytes()),
        room: store.budget.reserve(),
        md5: None,
        headers: ContentHeaders::default(),
        metadata: Metadata::default(),
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
    assert_eq!(&store.container("box").expect("there").get("a").expect("there").content[..], b"old");
}

#[test]
fn the_memory_limit_refuses_keeps_the_old_blob_and_deleting_makes_room() {
    let store = store_with(2 * limits::OVERHEAD_BYTES + 10);
    put(&store, "a", "12345").expect("fits");
    assert!(matches!(put(&store, "b", ""), Err(StorageError::MemoryLimit { .. })));
    assert!(matches!(put(&store, "a", "1234567890"), Err(StorageError::MemoryLimit { .. })));
    assert_eq!(&store.container("box").expect("there").get("a").expect("there").content[..], b"12345");
    store.delete_blob("box", "a", &Conditions::default()).expect("it is there");
    put(&store, "b", "12345").expect("fits again");
    store.delete_container("box", &Conditions::default()).expect("it is there");
    assert_eq!(store.budget.used_bytes(), 0);
}

#[test]
fn what_arrives_counts_until_it_is_dropped_or_stored() {
    let store = store_with(2 * limits::OVERHEAD_BYTES + 10);
    let (mut first, mut second) = (store.budget.reserve(), store.budget.reserve());
    first.grow(limits::OVERHEAD_BYTES).expect("fits");
    first.grow(6).expect("fits");
    assert!(matches!(second.grow(5), Err(StorageError::MemoryLimit { .. })), "the first is still arriving");
    drop(first);
    second.grow(6).expect("the first gave its room back");
    let new = NewBlob { room: second, ..new_blob(&store, "123456") };
    store.put_blob("box", "a", new, &Conditions::default(), 7).expect("fits");
    let weight = limits::OVERHEAD_BYTES + "123456".len() as u64 + "a".len() as u64;
    assert_eq!(store.budget.used_bytes(), limits::OVERHEAD_BYTES + weight, "counted once");

    let mut third = store.budget.reserve();
    third.grow(3).expect("fits");
    let only_new = Conditions { if_none_match: Some(TagMatch::Any), ..Conditions::default() };
    let new = NewBlob { room: third, ..new_blob(&store, "123") };
    assert!(store.put_blob("box", "a", new, &only_new, 8).is_err(), "it is there");
    assert_eq!(store.budget.used_bytes(), limits::OVERHEAD_BYTES + weight, "what was refused counts no more");
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
