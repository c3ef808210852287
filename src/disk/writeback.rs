//! Brings what is written to the disk while more is written, on a thread of its own, so that the
//! flush at the end has little left to do.

use std::{fs::File, sync::mpsc, thread};

/// Bytes of a file after which it is brought to the disk.
const STEP: u64 = 32 * 1024 * 1024;

/// See the module. The thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct WriteBack {
    files: mpsc::SyncSender<File>,
    written: u64,
}

impl WriteBack {
    /// Starts the thread.
    pub(super) fn start() -> Self {
        let (files, queue) = mpsc::sync_channel::<File>(1);
        let work = move || {
            for file in queue {
                // Whoever flushes in earnest sees the same error.
                if let Err(error) = file.sync_data() {
                    tracing::debug!(%error, "write back");
                }
            }
        };
        let thread = thread::Builder::new().name("write-back".to_owned()).spawn(work);
        thread.expect("the system has a thread to give");
        Self { files, written: 0 }
    }

    /// So many bytes were written to a file.
    pub(super) fn wrote(&mut self, file: &File, bytes: u64) {
        self.written += bytes;
        if self.written >= STEP {
            self.written = 0;
            // While the disk is still busy with what came before, this one waits for its next turn.
            file.try_clone().into_iter().for_each(|file| drop(self.files.try_send(file)));
        }
    }
}
