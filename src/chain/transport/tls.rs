//! TLS for the client: the cryptography that libp2p links already, the system's trust, no global state.

use std::sync::Arc;

use rustls::{ClientConfig, crypto::aws_lc_rs, pki_types::CertificateDer};
use rustls_platform_verifier::Verifier;

use crate::chain::Error;

/// A configuration that trusts what the system trusts, and these certificates (DER).
pub(super) fn config(extra_roots: &[Vec<u8>]) -> Result<ClientConfig, Error> {
    let fail = |error: rustls::Error| Error::Options(format!("TLS cannot be set up: {error}"));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let extra = extra_roots.iter().map(|der| CertificateDer::from(der.clone()));
    let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider)).map_err(fail)?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(fail)?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}
