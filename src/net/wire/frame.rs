//! Frames: a length of four bytes and one postcard value.

use std::io;

use bytes::{BufMut, Bytes};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::base::limits;

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::net) enum FrameError {
    /// The stream ended or broke before the first byte of a frame.
    #[error("the stream ended: {0}")]
    Ended(io::Error),
    /// The stream ended or broke inside a frame.
    #[error("the stream broke inside a frame: {0}")]
    Broken(io::Error),
    /// A length outside its limits, or bytes that are no such message.
    #[error("{0}")]
    Invalid(&'static str),
}

/// Reads one frame, and says how many bytes it had.
///
/// Takes memory only for bytes that arrived, at most the frame limit, and for the items in them (serde takes
/// at most 1 MiB ahead on the word of a length). Cancelled between bytes, the stream is of no more use.
pub(in crate::net) async fn read_frame<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<(T, usize), FrameError> {
    let mut length = [0; 4];
    stream.read_exact(&mut length[..1]).await.map_err(FrameError::Ended)?;
    stream.read_exact(&mut length[1..]).await.map_err(FrameError::Broken)?;
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 || length > limits::FRAME_BYTES {
        return Err(FrameError::Invalid("a frame's length is outside its limits"));
    }
    let mut body = Vec::with_capacity(length.min(4096));
    stream.take(length as u64).read_to_end(&mut body).await.map_err(FrameError::Broken)?;
    if body.len() < length {
        return Err(FrameError::Broken(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok((decode(&body)?, length + 4))
}

/// Reads raw data of an announced length, which the caller has checked against its limit.
pub(in crate::net) async fn read_data(stream: &mut (impl AsyncRead + Unpin), length: usize) -> io::Result<Bytes> {
    let mut data = Vec::with_capacity(length);
    while data.len() < length {
        // Between the two kinds of streams each read first zeroes what it may fill: not more than a stream brings at a time.
        let wanted = (length - data.len()).min(limits::STREAM_READ_BYTES);
        if stream.read_buf(&mut (&mut data).limit(wanted)).await? == 0 {
            let why = format!("{} of {length} announced bytes came", data.len());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
    }
    Ok(data.into())
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(FrameError::Invalid("a frame has bytes after its message")),
        Err(_) => Err(FrameError::Invalid("a frame does not hold a message of this protocol")),
    }
}

/// Writes one frame and returns its size in bytes. Does not flush.
pub(in crate::net) async fn write_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
) -> io::Result<usize> {
    let mut frame = postcard::to_extend(message, vec![0; 4]).map_err(io::Error::other)?;
    let length = frame.len() - 4;
    if length > limits::FRAME_BYTES {
        return Err(io::Error::other("a message is longer than a frame may be"));
    }
    let length = u32::try_from(length).expect("below the frame limit");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    stream.write_all(&frame).await?;
    Ok(frame.len())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use proptest::prelude::*;

    use super::{super::*, *};

    fn read<T: DeserializeOwned>(mut bytes: &[u8]) -> Result<T, FrameError> {
        read_frame(&mut bytes).now_or_never().unwrap().map(|(message, _)| message)
    }

    #[test]
    fn bad_lengths_are_refused_before_memory_is_taken() {
        assert!(matches!(read::<u8>(&[0, 0, 0, 0]), Err(FrameError::Invalid(_))));
        assert!(matches!(read::<u8>(&[255, 255, 255, 255, 1]), Err(FrameError::Invalid(_))));
        assert!(matches!(read::<u8>(&[0, 4, 0, 1, 1]), Err(FrameError::Invalid(_))));
        assert!(matches!(read::<u8>(&[0, 4, 0, 0, 1]), Err(FrameError::Broken(_))));
        assert!(matches!(read::<u8>(&[0, 0, 0, 2, 1, 1]), Err(FrameError::Invalid(_))));
        assert!(matches!(read::<u8>(&[]), Err(FrameError::Ended(_))));
        assert!(matches!(read::<u8>(&[0]), Err(FrameError::Broken(_))));
        assert!(matches!(read::<u8>(&[0, 0, 0, 1, 7]), Ok(7)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = decode::<Hello>(&body);
            let _ = decode::<HelloAnswer>(&body);
            let _ = decode::<ShardRequest>(&body);
            let _ = decode::<ShardAnswer>(&body);
            let _ = decode::<TrackerRequest>(&body);
            let _ = decode::<TrackerAnswer>(&body);
            let _ = read::<ShardAnswer>(&body);
        }
    }
}
