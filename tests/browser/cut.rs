//! A proxy in front of a server. A test can close its connections.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// Forwards connections to a server until a test closes them.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    connections: Arc<Mutex<JoinSet<()>>>,
    accepting: JoinHandle<()>,
}

impl Wire {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let open = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let forward = async move {
                    if let Ok(mut far) = TcpStream::connect(server).await {
                        drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                    }
                };
                let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
                open.spawn(forward);
            }
        });
        Self {
            address,
            connections,
            accepting,
        }
    }

    /// Closes all open connections. New ones are forwarded.
    pub(crate) fn cut(&self) {
        let mut open = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *open = JoinSet::new();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
