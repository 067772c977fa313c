//! The way to the nodes: fail-over, deadlines, bounds, lies, other chains, TLS.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ethers::providers::JsonRpcClient;
use openbucket::{
    base::limits,
    chain::{Error, Node, Transport, TransportError, TransportOptions},
};
use serde_json::{Value, json};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer},
};

use crate::{
    anvil::{Anvil, CHAIN, node},
    gate::{Fate, Gate},
};

async fn lonely(judge: impl Fn(&str, &Value) -> Fate + Send + Sync + 'static) -> Gate {
    Gate::start("", move |method, parameters| match method {
        "eth_chainId" => Fate::Result(json!("0x7a69")),
        _ => judge(method, parameters),
    })
    .await
}

async fn ask(node: &Node) -> Result<Value, TransportError> {
    node.transport().request("test_ask", json!([])).await
}

#[tokio::test]
async fn a_node_is_asked() {
    let anvil = Anvil::start(&[]);
    assert_eq!(anvil.node.head().await.expect("a head").number, 0);
    anvil.mine(3).await;
    let head = anvil.node.head().await.expect("a head");
    let parent = anvil.node.header(head.number - 1).await.expect("asked").expect("a block");
    assert_eq!((head.number, head.parent), (3, parent.hash));
    assert_eq!(anvil.node.header(17).await.expect("asked"), None);
}

#[tokio::test]
async fn another_node_stands_in_for_one_that_fails_and_stays() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let bad = lonely(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        Fate::Close
    })
    .await;
    let good = lonely(|_, _| Fate::Result(json!(7))).await;
    let node = node(&[&bad.url, &good.url]);
    for _ in 0..5 {
        assert_eq!(ask(&node).await.expect("the other one answers"), json!(7));
    }
    // The client may try a closed connection again by itself.
    assert!(asked.load(Ordering::SeqCst) <= 2, "it stays with the one that works");
    assert_eq!(node.transport().generation(), 1);
    assert_eq!(format!("http://{}", node.transport().host()), good.url);
}

#[tokio::test]
async fn every_kind_of_failure_leads_to_the_next_node() {
    let good = lonely(|_, _| Fate::Result(json!("fine"))).await;
    let other_id = json!({ "jsonrpc": "2.0", "id": 999_999, "result": 1 }).to_string();
    let bodies = [("200 OK", other_id), ("200 OK", "<html>".to_owned()), ("502 Bad Gateway", String::new())];
    let redirect = ("302 Found\r\nLocation: http://127.0.0.1:1/", String::new());
    for (status, body) in bodies.into_iter().chain([redirect]) {
        let bad = lonely(move |_, _| Fate::Body(status, body.clone())).await;
        assert_eq!(ask(&node(&[&bad.url, &good.url])).await.expect(status), json!("fine"));
    }
    let busy = lonely(|_, _| Fate::Error(-32005, "limit exceeded")).await;
    assert_eq!(ask(&node(&[&busy.url, &good.url])).await.expect("asked too much"), json!("fine"));
    let endless = lonely(|_, _| Fate::Endless).await;
    assert_eq!(ask(&node(&[&endless.url, &good.url])).await.expect("without end"), json!("fine"));
}

#[tokio::test]
async fn what_a_node_answers_in_error_is_an_answer() {
    let no = lonely(|_, _| Fate::Error(-32000, "no such thing")).await;
    let good = lonely(|_, _| Fate::Result(json!(1))).await;
    let node = node(&[&no.url, &good.url]);
    let error = ask(&node).await.expect_err("refused");
    assert!(matches!(&error, TransportError::Node { error, .. } if error.code == -32000), "{error}");
    assert_eq!(node.transport().generation(), 0);
}

#[tokio::test]
async fn a_node_that_hangs_is_waited_for_in_bounds() {
    let hung = lonely(|_, _| Fate::Hang).await;
    let mut options = TransportOptions::new(vec![hung.url.clone(), hung.url.clone()], CHAIN);
    options.attempt_timeout = Duration::from_millis(300);
    let node = Node::new(Transport::new(options).expect("URLs"));
    let start = Instant::now();
    let error = Error::from(ask(&node).await.expect_err("nothing answers"));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(error.to_string().contains("no answer within 300 ms"), "{error}");
}

#[tokio::test]
async fn lies_and_floods_are_called_so() {
    let liar = lonely(|_, _| Fate::Body("200 OK", json!({ "jsonrpc": "2.0", "id": 0, "result": 1 }).to_string())).await;
    let error = Error::from(ask(&node(&[&liar.url])).await.expect_err("another id"));
    assert!(matches!(error, Error::Lying { .. }), "{error}");
    let endless = lonely(|_, _| Fate::Endless).await;
    let error = Error::from(ask(&node(&[&endless.url])).await.expect_err("too much"));
    assert!(matches!(error, Error::TooLarge { limit: limits::NODE_ANSWER_BYTES, .. }), "{error}");
    let wrong = lonely(|_, _| Fate::Result(json!({ "number": "0x5", "hash": "0x12" }))).await;
    let error = node(&[&wrong.url]).head().await.expect_err("no block");
    assert!(matches!(error, Error::Lying { .. }), "{error}");
}

#[tokio::test]
async fn a_node_of_another_chain_is_never_used() {
    let other = Gate::start("", |method, _| {
        assert_eq!(method, "eth_chainId", "nothing else may be asked");
        Fate::Result(json!("0x1"))
    })
    .await;
    let error = Error::from(ask(&node(&[&other.url])).await.expect_err("another chain"));
    assert!(error.to_string().contains("is of chain 1, not of chain 31337"), "{error}");
    let good = lonely(|_, _| Fate::Result(json!(1))).await;
    ask(&node(&[&other.url, &good.url])).await.expect("the good one is used");
    // Also when it takes the place of one that failed.
    let failing = lonely(|_, _| Fate::Close).await;
    let error = Error::from(ask(&node(&[&failing.url, &other.url])).await.expect_err("none is left"));
    assert!(matches!(error, Error::WrongChain { .. }), "{error}");
}

#[tokio::test]
async fn a_url_is_never_shown() {
    let secret = "http://user:hunter2@127.0.0.1:1/v3/key-of-mine?token=abc";
    let node = node(&[secret]);
    let error = Error::from(ask(&node).await.expect_err("nobody listens"));
    let said = format!("{error} {error:?} {:?}", node.transport());
    for part in ["hunter2", "key-of-mine", "abc", "user"] {
        assert!(!said.contains(part), "{said}");
    }
    assert!(said.contains("127.0.0.1:1"), "{said}");
    for bad in ["key-of-mine", "ftp://key-of-mine", "http://", "wss://key-of-mine/"] {
        let error = Transport::new(TransportOptions::new(vec![bad.to_owned()], CHAIN)).expect_err(bad);
        assert!(!error.to_string().contains("key-of-mine"), "{error}");
    }
}

#[tokio::test]
async fn https_is_checked_against_whom_is_trusted() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.key_pair.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a server");
    let server = Gate::start_tls(TlsAcceptor::from(Arc::new(config)), |method, _| match method {
        "eth_chainId" => Fate::Result(json!("0x7a69")),
        _ => Fate::Result(json!("sealed")),
    })
    .await;
    let mut options = TransportOptions::new(vec![server.url.clone()], CHAIN);
    let stranger = Node::new(Transport::new(options.clone()).expect("URLs"));
    let error = Error::from(ask(&stranger).await.expect_err("nobody vouches for it"));
    assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
    options.extra_roots = vec![made.cert.der().to_vec()];
    let trusting = Node::new(Transport::new(options).expect("URLs"));
    assert_eq!(ask(&trusting).await.expect("trusted"), json!("sealed"));
}
