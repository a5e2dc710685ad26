//! The stores of all accounts, and how they come back from a data directory: each record, in its order, is done again.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::blob::{Blob, Description, ETag};
use super::container::{Container, ContainerProperties, Entry, PublicAccess};
use super::staged::{self, StagedBlock};
use super::{Shared, Store};
use crate::content::{Content, Part};
use crate::disk::{
    BlobRecord, BlockRecord, ContainerRecord, Disk, InRecord, LogLimits, OpenError, Place, Record,
};
use crate::limits;

/// The stores of all accounts.
#[derive(Debug)]
pub struct Stores {
    by_account: Vec<Arc<Store>>,
    shared: Arc<Shared>,
}

impl Stores {
    /// Empty stores in memory.
    #[must_use]
    pub fn in_memory<'a>(accounts: impl Iterator<Item = &'a str>, memory_limit_bytes: u64) -> Self {
        Self::over(accounts, Shared::new(memory_limit_bytes))
    }

    /// Stores over a data directory, with everything that it has. It takes as long as reading it takes.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn on_disk<'a>(
        accounts: impl Iterator<Item = &'a str>,
        memory_limit_bytes: u64,
        directory: &Path,
        limits: LogLimits,
    ) -> Result<Self, OpenError> {
        // The disk joins when it is read: what it brings back is not written to it again.
        let stores = Self::over(accounts, Shared::new(memory_limit_bytes));
        let disk = Disk::open(directory, limits, |disk, record, place, content| {
            stores.apply(disk, record, place, content)
        })?;
        stores.shared.join(disk);
        Ok(stores)
    }

    fn over<'a>(accounts: impl Iterator<Item = &'a str>, shared: Arc<Shared>) -> Self {
        let by_account = accounts.map(|account| Arc::new(Store::new(account, &shared))).collect();
        Self { by_account, shared }
    }

    /// The store of an account.
    #[must_use]
    pub fn get(&self, account: &str) -> Option<&Arc<Store>> {
        self.by_account.iter().find(|store| *store.account == *account)
    }

    /// What the stores share.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn apply(
        &self,
        disk: &Disk,
        record: Record<'static>,
        place: Place,
        content: InRecord,
    ) -> Result<(), OpenError> {
        match record {
            Record::Container(record) => self.store_of(&record.account)?.restore(record, place),
            Record::ContainerDeleted { account, container } => {
                self.store_of(&account)?.forget_container(&container);
            }
            Record::Blob(record) => {
                let small = (content.size_bytes() > 0).then_some(Part::Record(content));
                let parts = small.into_iter().chain(files_of(disk, &record.files)).collect();
                let store = self.store_of(&record.account)?;
                store.restored(&record.container).restore_blob(*record, Content::new(parts), place);
            }
            Record::BlobDeleted { account, container, blob } => {
                self.store_of(&account)?.restored(&container).forget_blob(&blob);
            }
            Record::Block(record) => {
                let parts = files_of(disk, &record.files).collect();
                let store = self.store_of(&record.account)?;
                store.restored(&record.container).restore_block(&record, Content::new(parts), place);
            }
        }
        Ok(())
    }

    fn store_of(&self, account: &str) -> Result<&Arc<Store>, OpenError> {
        self.get(account).ok_or_else(|| OpenError::UnknownAccount { account: account.to_owned() })
    }
}

impl Store {
    /// The container of this name. A blob's record may come before its container's: that one was moved to the end of
    /// the log, when what was before it was removed.
    fn restored(&self, name: &str) -> Arc<Container> {
        let mut containers = self.containers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(container) = containers.get(name) {
            return Arc::clone(container);
        }
        let (metadata, public_access) = (Box::default(), PublicAccess::None);
        let properties =
            ContainerProperties { metadata, public_access, etag: ETag::default(), modified_us: 0 };
        let container = Arc::new(Container::new(&self.account, name, &self.shared, properties, None));
        self.shared.budget.take(limits::OVERHEAD_BYTES);
        containers.insert(Arc::clone(&container.name), Arc::clone(&container));
        container
    }

    fn restore(&self, record: ContainerRecord<'_>, place: Place) {
        self.shared.stamps.seen(record.etag);
        let container = self.restored(&record.container);
        let properties = ContainerProperties {
            metadata: record.metadata.into_owned().into(),
            public_access: record.public_access,
            etag: record.etag,
            modified_us: record.modified_us,
        };
        *container.properties.write().unwrap_or_else(PoisonError::into_inner) = (properties, Some(place));
    }

    fn forget_container(&self, name: &str) {
        let mut containers = self.containers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(container) = containers.remove(name) {
            let blobs: u64 = container.write().by_name.iter().map(|(name, entry)| entry.weight(name)).sum();
            self.shared.budget.release(blobs + limits::OVERHEAD_BYTES);
        }
    }
}

impl Container {
    fn restore_blob(&self, record: BlobRecord<'_>, content: Content, place: Place) {
        self.shared.stamps.seen(record.etag);
        let about = Description {
            md5: record.md5,
            headers: record.headers.into_owned(),
            metadata: record.metadata.into_owned().into(),
            copy: record.copy.map(|copy| Box::new(copy.into_owned())),
        };
        let blob = Arc::new(Blob {
            content,
            blocks: record.blocks.into_owned().into(),
            about,
            etag: record.etag,
            created_us: record.created_us,
            modified_us: record.modified_us,
            place: Some(place),
        });
        let mut blobs = self.write();
        let (name, entry) = blobs.entry(&record.blob);
        let old = entry.weight(&name);
        let staged = if record.moved { entry.staged.take() } else { None };
        *entry = Entry { blob: Some(blob), staged };
        self.shared.budget.revert(old, entry.weight(&name));
    }

    fn restore_block(&self, record: &BlockRecord<'_>, content: Content, place: Place) {
        let mut blobs = self.write();
        let (_, entry) = blobs.entry(&record.blob);
        let staged = entry.staged.get_or_insert_default();
        self.shared.budget.revert(staged.weight_of(&record.id), staged::weight(&record.id, &content));
        staged.insert(&record.id, StagedBlock { content, place: Some(place) });
    }

    fn forget_blob(&self, name: &str) {
        if let Some(entry) = self.write().by_name.remove(name) {
            self.shared.budget.release(entry.weight(name));
        }
    }
}

fn files_of(disk: &Disk, files: &[(u64, u64)]) -> impl Iterator<Item = Part> {
    files.iter().map(|(id, size_bytes)| Part::File(disk.named_file(*id, *size_bytes)))
}
