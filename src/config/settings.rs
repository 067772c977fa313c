//! The merged configuration, complete.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{Durability, Error, Layer, Origin};
use crate::{
    base::{ByteSize, Scheme, Wei, limits},
    daemon,
};

/// All options, each set.
#[derive(Clone, Debug)]
pub struct Settings {
    pub state: PathBuf,
    pub bucket: String,
    pub trackers: Vec<String>,
    pub group: String,
    pub listen: Vec<String>,
    pub is_mdns: bool,
    pub staging_size: ByteSize,
    pub cache_size: ByteSize,
    pub cache_memory: ByteSize,
    pub read_timeout: Duration,
    pub tier: Scheme,
    pub durability: Durability,
    /// None when nobody named one and there is no home.
    pub wallet: Option<PathBuf>,
    /// URLs of Ethereum nodes; they may carry keys and are not to be shown.
    pub rpc: Vec<String>,
    pub chain_id: Option<u64>,
    /// The file with the addresses of the contracts.
    pub contracts: Option<PathBuf>,
    pub confirmations: Option<u64>,
    pub gas_ceiling: Wei,
    pub consumer_dir: Option<PathBuf>,
    pub consumer_limit: Option<ByteSize>,
    pub consumer_listen: Vec<String>,
    pub tracker_dir: Option<PathBuf>,
    pub tracker_listen: Vec<String>,
    origins: BTreeMap<&'static str, Origin>,
}

/// The lowest layer. The directories below a home are set apart.
fn built_in() -> Layer {
    Layer {
        bucket: Some("default".into()),
        trackers: Some(Vec::new()),
        group: Some("openbucket".into()),
        listen: Some(vec!["0.0.0.0:0".into()]),
        mdns: Some(true),
        staging_size: Some(ByteSize(limits::STAGING_BYTES)),
        cache_size: Some(ByteSize(limits::CACHE_DISK_BYTES)),
        cache_memory: Some(ByteSize(limits::CACHE_MEMORY_BYTES)),
        read_timeout: Some(limits::READ_TIMEOUT),
        tier: Some(Scheme::BASIC),
        durability: Some(Durability::Local),
        gas_ceiling: Some(limits::GAS_CEILING),
        consumer_listen: Some(vec!["0.0.0.0:4101".into()]),
        tracker_listen: Some(vec!["0.0.0.0:4100".into()]),
        ..Layer::default()
    }
}

impl Settings {
    /// Merges layers over the built-in one, the lowest first.
    pub(super) fn merge(home: Option<PathBuf>, layers: Vec<(Layer, Origin)>) -> Result<Settings, Error> {
        let mut all = Layer::default();
        let mut origins = BTreeMap::new();
        let state = home.map(|home| home.join(".local/share/openbucket"));
        let wallet = state.as_ref().map(|state| state.join("wallet"));
        all.overlay(Layer { state, wallet, ..built_in() }, &Origin::BuiltIn, &mut origins);
        for (layer, origin) in layers {
            all.overlay(layer, &origin, &mut origins);
        }
        const SET: &str = "the built-in layer sets it";
        Ok(Settings {
            state: all.state.ok_or(Error::NoHome)?,
            bucket: all.bucket.expect(SET),
            trackers: all.trackers.expect(SET),
            group: all.group.expect(SET),
            listen: all.listen.expect(SET),
            is_mdns: all.mdns.expect(SET),
            staging_size: all.staging_size.expect(SET),
            cache_size: all.cache_size.expect(SET),
            cache_memory: all.cache_memory.expect(SET),
            read_timeout: all.read_timeout.expect(SET),
            tier: all.tier.expect(SET),
            durability: all.durability.expect(SET),
            wallet: all.wallet,
            rpc: all.rpc.map(|urls| urls.0).unwrap_or_default(),
            chain_id: all.chain_id,
            contracts: all.contracts,
            confirmations: all.confirmations,
            gas_ceiling: all.gas_ceiling.expect(SET),
            consumer_dir: all.consumer_dir,
            consumer_limit: all.consumer_limit,
            consumer_listen: all.consumer_listen.expect(SET),
            tracker_dir: all.tracker_dir,
            tracker_listen: all.tracker_listen.expect(SET),
            origins,
        })
    }

    /// Which layer set a key; built-in when none did.
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::BuiltIn)
    }

    /// What the daemon is told.
    pub fn daemon_options(&self, mount: Option<daemon::MountOptions>) -> daemon::Options {
        daemon::Options {
            state_directory: self.state.clone(),
            bucket: self.bucket.clone(),
            trackers: self.trackers.clone(),
            group: self.group.clone(),
            listen: self.listen.clone(),
            is_mdns: self.is_mdns,
            staging_bytes: self.staging_size.0,
            cache_disk_bytes: self.cache_size.0,
            cache_memory_bytes: self.cache_memory.0,
            read_timeout: self.read_timeout,
            scheme: self.tier,
            is_durability_network: self.durability == Durability::Network,
            mount,
        }
    }
}
