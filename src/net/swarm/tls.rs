//! TLS 1.3 over TCP, libp2p's `/tls/1.0.0`, with AES: for processors that have instructions for it.
//!
//! Noise has ChaCha20, and so does libp2p's own configuration of TLS when it may choose; AES-GCM takes such a processor
//! less than half the time. A processor without these instructions does not offer TLS: for it AES is slow, and its
//! peers go on to noise. Certificates are made, read and verified by libp2p-tls; here stands which of TLS is spoken,
//! and by what: ring, because AWS-LC, which libp2p's configuration has, collects entropy of its own when it first needs
//! some, for 65 ms of the processor, while a mount's first read waits.
//!
//! Source: <https://github.com/libp2p/specs/blob/master/tls/tls.md>.

use std::{
    io,
    net::Ipv4Addr,
    sync::{Arc, OnceLock},
};

use futures::{AsyncRead, AsyncWrite, FutureExt, future::BoxFuture, io::BufReader};
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use libp2p::{
    PeerId,
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    identity::Keypair,
    tls::certificate,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring as provider},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};

use super::bursts::Bursts;
use crate::base::limits;

/// What is spoken inside, as the specification names it.
const ALPN: &[u8] = b"libp2p";

/// What went wrong while TLS was set up.
pub(super) type SetupError = Box<dyn std::error::Error + Send + Sync>;

/// A connection that TLS secures. TLS asks for 4 KiB at a time, and sends whatever it is given at once, be it the twelve
/// bytes before a frame: each would be a call of the system, and the latter would wake the peer for nothing.
type Secured<C> = Bursts<TlsStream<BufReader<C>>>;

/// Secures connections of one peer.
#[derive(Clone)]
pub(super) struct Tls {
    is_offered: bool,
    provider: Arc<CryptoProvider>,
    shown_to_clients: Arc<dyn ResolvesServerCert>,
    shown_to_servers: Arc<dyn ResolvesClientCert>,
}

impl Tls {
    /// TLS under a certificate made now; offered to peers if this processor is quick at it.
    pub fn new(keypair: &Keypair) -> Result<Self, SetupError> {
        let cipher_suites = vec![
            provider::cipher_suite::TLS13_AES_256_GCM_SHA384,
            provider::cipher_suite::TLS13_AES_128_GCM_SHA256,
            provider::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ];
        let (certificate, key) = certificate::generate(keypair)?;
        let shown = Arc::new(SingleCertAndKey::from(CertifiedKey::new(
            vec![certificate],
            provider::sign::any_ecdsa_type(&key)?,
        )));
        Ok(Self {
            is_offered: has_aes(),
            provider: Arc::new(CryptoProvider { cipher_suites, ..provider::default_provider() }),
            shown_to_clients: Arc::clone(&shown) as Arc<dyn ResolvesServerCert>,
            shown_to_servers: shown,
        })
    }

    fn server(&self, certificates: Arc<Certificates>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(certificates)
            .with_cert_resolver(Arc::clone(&self.shown_to_clients));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // No handshake is a repetition of another: each proves both keys.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(config))
    }

    fn client(&self, certificates: Arc<Certificates>) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(certificates)
            .with_client_cert_resolver(Arc::clone(&self.shown_to_servers));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// Whether this processor has instructions for AES-GCM.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

impl UpgradeInfo for Tls {
    type Info = &'static str;
    type InfoIter = std::option::IntoIter<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.is_offered.then_some("/tls/1.0.0").into_iter()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Tls {
    type Output = (PeerId, Secured<C>);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Output>>;

    fn upgrade_inbound(self, connection: C, _: Self::Info) -> Self::Future {
        async move {
            let certificates = Arc::new(Certificates::default());
            let config = self.server(Arc::clone(&certificates)).map_err(io::Error::other)?;
            let stream = TlsAcceptor::from(config).accept(read_in_bulk(connection)).await?;
            Ok((certificates.peer()?, written_in_bursts(stream.into())))
        }
        .boxed()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Tls {
    type Output = (PeerId, Secured<C>);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Output>>;

    fn upgrade_outbound(self, connection: C, _: Self::Info) -> Self::Future {
        async move {
            let certificates = Arc::new(Certificates::default());
            let config = self.client(Arc::clone(&certificates)).map_err(io::Error::other)?;
            // An address is never sent as a server's name, which the specification does not want.
            let nobody = ServerName::from(Ipv4Addr::UNSPECIFIED);
            let stream = TlsConnector::from(config).connect(nobody, read_in_bulk(connection)).await?;
            Ok((certificates.peer()?, written_in_bursts(stream.into())))
        }
        .boxed()
    }
}

fn read_in_bulk<C: AsyncRead>(connection: C) -> BufReader<C> {
    BufReader::with_capacity(limits::TLS_READ_BYTES, connection)
}

fn written_in_bursts<C: AsyncRead + AsyncWrite + Unpin>(stream: TlsStream<BufReader<C>>) -> Secured<C> {
    Bursts::new(stream, limits::TLS_WRITE_BYTES)
}

/// Takes the certificates that libp2p makes, of any peer: who it must be, the swarm knows.
#[derive(Debug, Default)]
struct Certificates {
    /// Whose certificate it was, once the peer has proven to own it.
    peer: OnceLock<PeerId>,
}

impl Certificates {
    fn peer(&self) -> io::Result<PeerId> {
        self.peer.get().copied().ok_or_else(|| io::Error::other("the peer has proven no key"))
    }

    /// All but the number is checked with the signature of the handshake, which always follows: once, because it takes
    /// three signatures.
    fn check(others: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        match others {
            [] => Ok(()),
            _ => Err(rustls::Error::General("a peer has one certificate".into())),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // rustls leaves it to this whether the scheme is one that was asked for.
        if !Self::schemes().contains(&signed.scheme) {
            return Err(rustls::PeerIncompatible::NoSignatureSchemesInCommon.into());
        }
        let parsed = certificate::parse(certificate)?;
        parsed.verify_signature(signed.scheme, message, signed.signature())?;
        self.peer.get_or_init(|| parsed.peer_id());
        Ok(HandshakeSignatureValid::assertion())
    }

    fn old<T>() -> Result<T, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken".into()))
    }

    fn schemes() -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA256,
        ]
    }
}

impl ServerCertVerifier for Certificates {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Self::check(others).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::old()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

impl ClientCertVerifier for Certificates {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Self::check(others).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::old()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

#[cfg(test)]
mod tests {
    use futures::AsyncReadExt;
    use rustls::{CipherSuite, CommonState, pki_types::PrivateKeyDer};
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    type Found = io::Result<(PeerId, Option<CipherSuite>)>;

    /// Both ends of a handshake: whom the server and the client have found, and under which cipher.
    async fn shake(server: Tls, client: Tls) -> (Found, Found) {
        let (near, far) = tokio::io::duplex(64 << 10);
        let found = |peer, state: &CommonState| (peer, state.negotiated_cipher_suite().map(|suite| suite.suite()));
        let inbound = async {
            let (peer, stream) = server.upgrade_inbound(near.compat(), "").await?;
            Ok(found(peer, stream.get_ref().get_ref().1))
        };
        let outbound = async {
            let (peer, mut stream) = client.upgrade_outbound(far.compat(), "").await?;
            // That a server refuses it, a client learns when it reads.
            match stream.read(&mut [0]).await {
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
                _ => Ok(found(peer, stream.get_ref().get_ref().1)),
            }
        };
        tokio::join!(inbound, outbound)
    }

    /// One that shows these certificates and signs with this key.
    fn with(certificates: &[CertificateDer<'static>], key: &PrivateKeyDer<'_>) -> Tls {
        let mut tls = Tls::new(&Keypair::generate_ed25519()).expect("sets up");
        let key = provider::sign::any_ecdsa_type(key).expect("a key");
        let shown = Arc::new(SingleCertAndKey::from(CertifiedKey::new(certificates.to_vec(), key)));
        tls.shown_to_clients = Arc::clone(&shown) as Arc<dyn ResolvesServerCert>;
        tls.shown_to_servers = shown;
        tls
    }

    #[tokio::test]
    async fn both_ends_find_each_other_and_speak_aes() {
        let keys = [(); 2].map(|()| Keypair::generate_ed25519());
        let [server, client] = [0, 1].map(|at| Tls::new(&keys[at]).expect("sets up"));
        let (inbound, outbound) = shake(server, client).await;
        let suite = Some(CipherSuite::TLS13_AES_256_GCM_SHA384);
        assert_eq!(inbound.expect("a client"), (keys[1].public().to_peer_id(), suite));
        assert_eq!(outbound.expect("a server"), (keys[0].public().to_peer_id(), suite));
    }

    #[tokio::test]
    async fn who_shows_another_certificate_an_altered_one_or_two_is_refused() {
        let honest = || Tls::new(&Keypair::generate_ed25519()).expect("sets up");
        let (mine, key) = certificate::generate(&Keypair::generate_ed25519()).expect("a certificate");
        let (stolen, _) = certificate::generate(&Keypair::generate_ed25519()).expect("a certificate");
        let own = || with(std::slice::from_ref(&mine), &key);
        let (inbound, outbound) = shake(own(), own()).await;
        assert!(inbound.is_ok() && outbound.is_ok(), "{inbound:?}, {outbound:?}");
        let mut forged = vec![vec![mine.clone(), stolen.clone()], vec![stolen]];
        for at in (0..mine.len()).step_by(7) {
            let mut altered = mine.to_vec();
            altered[at] ^= 1;
            forged.push(vec![altered.into()]);
        }
        for certificates in forged {
            let (inbound, _) = shake(honest(), with(&certificates, &key)).await;
            assert!(inbound.is_err(), "a client with {certificates:?}");
            let (_, outbound) = shake(with(&certificates, &key), honest()).await;
            assert!(outbound.is_err(), "a server with {certificates:?}");
        }
    }

    #[tokio::test]
    async fn a_client_without_a_certificate_is_refused() {
        let [server, client] = [(); 2].map(|()| Tls::new(&Keypair::generate_ed25519()).expect("sets up"));
        let (inbound, outbound) = shake(server, Tls { shown_to_servers: Arc::new(Nothing), ..client }).await;
        assert!(inbound.is_err() && outbound.is_err(), "{inbound:?}, {outbound:?}");
    }

    /// Shows no certificate.
    #[derive(Debug)]
    struct Nothing;

    impl ResolvesClientCert for Nothing {
        fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            None
        }

        fn has_certs(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_processor_without_aes_does_not_offer_it() {
        let here = Tls::new(&Keypair::generate_ed25519()).expect("sets up");
        assert_eq!(here.protocol_info().count(), usize::from(has_aes()));
        assert_eq!(Tls { is_offered: false, ..here }.protocol_info().count(), 0);
    }
}
