//! A socket that writes when whoever uses it has nothing left to do but read.
//!
//! The MQTT client flushes after each acknowledgement: a system call, a TCP segment and a wake-up of the broker for four
//! bytes. Here they are collected until the client next waits for the broker, which it does in the same turn of its
//! event loop, so nothing is held up.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much is collected at most; more is written first.
const ROOM: usize = 64 * 1024;

/// Collects what is written until the next read, or until it is dropped: what goes out then is what the socket takes at
/// once.
#[derive(Debug)]
pub(super) struct Coalesced<S: AsyncWrite + Unpin> {
    socket: S,
    /// Not written yet from `written` on.
    collected: Vec<u8>,
    written: usize,
}

impl<S: AsyncWrite + Unpin> Coalesced<S> {
    pub(super) fn new(socket: S) -> Self {
        Self { socket, collected: Vec::new(), written: 0 }
    }

    fn poll_write_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.collected.len() {
            let rest = &self.collected[self.written..];
            match ready!(Pin::new(&mut self.socket).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.collected.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Drop for Coalesced<S> {
    fn drop(&mut self) {
        // The client reads no more after it has said goodbye.
        let _ = self.poll_write_out(&mut Context::from_waker(Waker::noop()));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Coalesced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Where the broker takes nothing more, it may be waiting for us to read.
        if let Poll::Ready(Err(error)) = self.poll_write_out(context) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coalesced<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.collected.len() >= ROOM {
            ready!(self.poll_write_out(context))?;
        }
        self.collected.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn received(peer: &mut tokio::io::DuplexStream) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let count = peer.read(&mut bytes).now_or_never().map_or(0, Result::unwrap);
        bytes.truncate(count);
        bytes
    }

    #[tokio::test]
    async fn what_was_flushed_goes_out_with_the_next_read() {
        let (socket, mut peer) = tokio::io::duplex(1 << 20);
        let mut socket = Coalesced::new(socket);
        for word in ["one ", "two ", "three"] {
            socket.write_all(word.as_bytes()).await.unwrap();
            socket.flush().await.unwrap();
        }
        assert_eq!(received(&mut peer).await, b"");
        assert!(socket.read_u8().now_or_never().is_none(), "nobody answered");
        assert_eq!(received(&mut peer).await, b"one two three");
        peer.write_all(b"!").await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), b'!');
        socket.write_all(b"goodbye").await.unwrap();
        drop(socket);
        assert_eq!(received(&mut peer).await, b"goodbye");
    }

    #[tokio::test]
    async fn memory_is_bounded_where_nobody_takes_anything() {
        let (socket, mut peer) = tokio::io::duplex(16);
        let mut socket = Coalesced::new(socket);
        let mut taken = 0;
        while socket.write(&[7; 1000]).now_or_never().is_some() {
            taken += 1000;
            assert!(taken <= 2 * ROOM);
        }
        // It reads on meanwhile, and gives all when it is taken.
        peer.write_all(b"!").await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), b'!');
        let mut all = Vec::new();
        let (given, _) = tokio::join!(
            async {
                socket.shutdown().await.unwrap();
                drop(socket);
            },
            peer.read_to_end(&mut all)
        );
        assert_eq!(((), all.len()), (given, taken));
    }
}
