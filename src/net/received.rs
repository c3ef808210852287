//! What a decorated socket does with datagrams that are not for its reader.

use std::{
    io::{self, IoSliceMut},
    task::{Context, Poll, ready},
};

use webrtc::runtime::{AsyncUdpSocket, RecvMeta};

/// Receives, and has `keep` look at each buffer, which says how many bytes at its front are for the
/// reader. Buffers with none are passed over.
pub(super) fn poll_kept(
    socket: &dyn AsyncUdpSocket,
    cx: &mut Context<'_>,
    bufs: &mut [IoSliceMut<'_>],
    meta: &mut [RecvMeta],
    mut keep: impl FnMut(&mut [u8], &RecvMeta) -> usize,
) -> Poll<io::Result<usize>> {
    loop {
        let count = ready!(socket.poll_recv(cx, bufs, meta))?;
        let mut kept = 0;
        for index in 0..count {
            let length = keep(&mut bufs[index], &meta[index]);
            if length == 0 && meta[index].len > 0 {
                continue;
            }
            if kept < index {
                let (before, from) = bufs.split_at_mut(index);
                before[kept][..length].copy_from_slice(&from[0][..length]);
            }
            meta[kept] = meta[index];
            meta[kept].len = length;
            kept += 1;
        }
        if kept > 0 {
            return Poll::Ready(Ok(kept));
        }
    }
}
