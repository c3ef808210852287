//! Frames: everything that a peer says on a lane.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use p2pshare::proto::{
    frame::{Frame, MAX_FRAME, MAX_PAYLOAD},
    wire::MAX_NUMBER,
};
use p2pshare_fuzz::{comes_back, seed};

fuzz_target!(init: seed(p2pshare_fuzz::bytes("frame", "bytes")), |data: &[u8]| {
    let message = Bytes::copy_from_slice(data);
    let Ok(Some(frame)) = Frame::from_wire(&message) else { return };
    assert!(data.len() <= MAX_FRAME, "too long to be looked at");
    within_its_caps(&frame, data);
    let wire = Bytes::from(frame.to_wire());
    // An entry gains eight bytes when its time comes without nanoseconds.
    if wire.len() <= MAX_FRAME {
        comes_back(&Some(frame), Frame::from_wire(&wire));
    }
});

fn within_its_caps(frame: &Frame, data: &[u8]) {
    match frame {
        Frame::Data(records) => {
            assert_eq!(frame.to_wire(), data, "bulk has one form only");
            let lengths = records.iter().map(|record| record.bytes.len());
            assert!(lengths.clone().all(|length| (1..=MAX_PAYLOAD).contains(&length)));
            assert_eq!(2 + 16 * records.len() + lengths.sum::<usize>(), data.len());
        }
        Frame::Hashes(hashes) => {
            assert_eq!(frame.to_wire(), data, "bulk has one form only");
            assert_eq!(2 + 40 * hashes.len(), data.len());
        }
        Frame::Manifest(entries) => {
            assert!(entries.iter().all(|entry| entry.size <= MAX_NUMBER));
        }
        Frame::ManifestEnd { bytes: number, .. } | Frame::Credit { limit: number } => {
            assert!(*number <= MAX_NUMBER);
        }
        Frame::Fin(finished) => {
            assert_eq!(frame.to_wire(), data, "bulk has one form only");
            assert!(finished.iter().all(|finished| finished.size <= MAX_NUMBER));
        }
        Frame::FinOk(files) | Frame::Withdraw(files) => {
            assert_eq!(frame.to_wire(), data, "bulk has one form only");
            assert!(files.iter().all(|files| !files.is_empty()));
        }
        Frame::Want(wanted) => {
            assert_eq!(frame.to_wire(), data, "bulk has one form only");
            assert!(wanted.iter().all(|wanted| !wanted.files.is_empty()));
            assert!(wanted.iter().all(|wanted| wanted.chunks.start <= wanted.chunks.end));
        }
        Frame::Claim(claims) => assert_eq!(2 + 40 * claims.len(), data.len()),
        Frame::Skip { files, .. } => assert!(files.iter().all(|files| !files.is_empty())),
        Frame::Hello(_)
        | Frame::Accept
        | Frame::Cancel(_)
        | Frame::Kept { .. }
        | Frame::Lane { .. }
        | Frame::Limited(_)
        | Frame::Resume { .. } => {}
    }
}
