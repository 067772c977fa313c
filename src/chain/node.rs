//! What this program asks of a node, typed. Every answer is checked as far as it can be.

use ethers::{
    providers::JsonRpcClient,
    types::{Bytes, H160, H256, U64, U256},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{BlockHash, Call, ChainId, Error, Transport, TransportError, TxHash, revert};
use crate::{
    base::{Wei, limits},
    keys::EthereumAddress,
};

/// A node of one chain, or several that stand in for each other.
#[derive(Clone, Debug)]
pub struct Node {
    transport: Transport,
}

/// Of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub number: u64,
    pub hash: BlockHash,
    pub parent: BlockHash,
    /// Seconds since 1970.
    pub time_seconds: u64,
    /// Wei for a unit of gas; chains before EIP-1559 have none.
    pub base_fee: Option<u128>,
}

/// Which state of the chain is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Of the newest block.
    Latest,
    /// With what waits to be mined.
    Pending,
    /// After this block.
    Block(u64),
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub hash: TxHash,
    pub block: u64,
    pub block_hash: BlockHash,
    pub is_success: bool,
    pub gas_used: u64,
    /// Gas times its price.
    pub fee: Wei,
}

/// What a contract logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawLog {
    pub address: EthereumAddress,
    pub topics: Vec<[u8; 32]>,
    pub data: Vec<u8>,
    pub block: u64,
    pub block_hash: BlockHash,
    pub transaction: TxHash,
    /// The place among all logs of the block.
    pub index: u64,
}

/// What a node says to a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way, maybe from before.
    Taken,
    /// A transaction with its nonce is mined: itself, or another.
    NonceUsed,
    /// Not taken, for now.
    Refused(String),
}

/// A call that would revert, with the bytes that it would give; or another error.
#[derive(Debug)]
pub(super) enum CallError {
    Reverted(Vec<u8>, String),
    Other(Error),
}

impl CallError {
    /// In words.
    pub fn explain(self, what: &str) -> Error {
        match self {
            Self::Reverted(data, message) => {
                Error::Reverted { what: what.to_owned(), why: revert::explain(&data).unwrap_or(message) }
            }
            Self::Other(error) => error,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockJson {
    number: U64,
    hash: H256,
    parent_hash: H256,
    timestamp: U256,
    base_fee_per_gas: Option<U256>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReceiptJson {
    transaction_hash: H256,
    block_hash: Option<H256>,
    block_number: Option<U64>,
    gas_used: U256,
    status: Option<U64>,
    effective_gas_price: Option<U256>,
}

#[derive(Deserialize)]
struct LogsJson {
    logs: Vec<LogJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogJson {
    address: H160,
    topics: Vec<H256>,
    data: Bytes,
    block_number: Option<U64>,
    block_hash: Option<H256>,
    transaction_hash: Option<H256>,
    log_index: Option<U64>,
    #[serde(default)]
    removed: bool,
}

impl Node {
    /// Asks through this transport.
    pub fn new(transport: Transport) -> Self {
        Self { transport }
    }

    /// The way to the node, for `ethers` contracts.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The chain.
    pub fn chain(&self) -> ChainId {
        self.transport.chain()
    }

    async fn ask<R: DeserializeOwned + Send>(&self, method: &str, params: Value) -> Result<R, TransportError> {
        self.transport.request(method, params).await
    }

    fn lie(&self, why: impl Into<String>) -> Error {
        Error::Lying { host: self.transport.host(), why: why.into() }
    }

    fn wei(&self, amount: U256, what: &str) -> Result<Wei, Error> {
        let amount = u128::try_from(amount).map_err(|_| self.lie(format!("{what} is more ether than there is")))?;
        Ok(Wei(amount))
    }

    fn small(&self, number: U256, what: &str) -> Result<u64, Error> {
        u64::try_from(number).map_err(|_| self.lie(format!("{what} does not fit 64 bits")))
    }

    /// The newest block.
    pub async fn head(&self) -> Result<Header, Error> {
        let block: Option<BlockJson> = self.ask("eth_getBlockByNumber", json!(["latest", false])).await?;
        self.checked(block.ok_or_else(|| self.lie("it has no newest block"))?, None)
    }

    /// A block of the chain as it is now; None when it is not that long.
    pub async fn header(&self, number: u64) -> Result<Option<Header>, Error> {
        let block: Option<BlockJson> = self.ask("eth_getBlockByNumber", json!([U64::from(number), false])).await?;
        block.map(|block| self.checked(block, Some(number))).transpose()
    }

    fn checked(&self, block: BlockJson, number: Option<u64>) -> Result<Header, Error> {
        if number.is_some_and(|number| block.number.as_u64() != number) {
            return Err(self.lie("it gives another block than was asked for"));
        }
        let base_fee = block.base_fee_per_gas.map(|fee| self.wei(fee, "a base fee")).transpose()?;
        Ok(Header {
            number: block.number.as_u64(),
            hash: BlockHash(block.hash.0),
            parent: BlockHash(block.parent_hash.0),
            time_seconds: self.small(block.timestamp, "a block's time")?,
            base_fee: base_fee.map(|fee| fee.0),
        })
    }

    /// How many transactions the account has sent: its next nonce.
    pub async fn transaction_count(&self, account: EthereumAddress, at: At) -> Result<u64, Error> {
        let count: U256 = self.ask("eth_getTransactionCount", json!([H160(account.0), at.to_json()])).await?;
        self.small(count, "a nonce")
    }

    /// What the account has.
    pub async fn balance(&self, account: EthereumAddress, at: At) -> Result<Wei, Error> {
        let balance: U256 = self.ask("eth_getBalance", json!([H160(account.0), at.to_json()])).await?;
        self.wei(balance, "a balance")
    }

    /// Whether there is a contract.
    pub async fn has_code(&self, address: EthereumAddress) -> Result<bool, Error> {
        let code: Bytes = self.ask("eth_getCode", json!([H160(address.0), "latest"])).await?;
        Ok(!code.is_empty())
    }

    /// What the node would add for the miner, in wei for a unit of gas. A node that does not know gives one gwei.
    pub(super) async fn tip(&self) -> Result<u128, Error> {
        match self.ask::<U256>("eth_maxPriorityFeePerGas", json!([])).await {
            Ok(tip) => Ok(self.wei(tip, "a priority fee")?.0),
            Err(TransportError::Node { .. }) => Ok(Wei::GWEI.0),
            Err(error) => Err(error.into()),
        }
    }

    /// The gas that a call takes, with what waits to be mined before it.
    pub(super) async fn estimate_gas(&self, from: EthereumAddress, call: &Call) -> Result<u64, CallError> {
        let gas: U256 = self
            .ask("eth_estimateGas", json!([call_json(from, call), "pending"]))
            .await
            .map_err(|error| self.call_error(error))?;
        let gas = self.small(gas, "an estimate of gas").map_err(CallError::Other)?;
        if gas > limits::TRANSACTION_GAS {
            return Err(CallError::Other(self.lie(format!("{gas} gas for one call"))));
        }
        Ok(gas)
    }

    /// What a call gives, without a transaction.
    pub(super) async fn call(&self, from: EthereumAddress, call: &Call, at: At) -> Result<Vec<u8>, CallError> {
        let answer: Result<Bytes, _> = self.ask("eth_call", json!([call_json(from, call), at.to_json()])).await;
        answer.map(|bytes| bytes.to_vec()).map_err(|error| self.call_error(error))
    }

    fn call_error(&self, error: TransportError) -> CallError {
        if let TransportError::Node { error: node, .. } = &error
            && let Some(data) = node.as_revert_data().or_else(|| revert_data(node.data.as_ref()))
        {
            let message = node.message.chars().take(limits::NODE_MESSAGE_CHARS).collect();
            return CallError::Reverted(data.to_vec(), message);
        }
        CallError::Other(error.into())
    }

    /// Hands a signed transaction over. To do so again changes nothing.
    pub(super) async fn send_raw(&self, raw: &[u8], hash: TxHash) -> Result<Sent, Error> {
        let answer: Result<H256, _> = self.ask("eth_sendRawTransaction", json!([Bytes::from(raw.to_vec())])).await;
        match answer {
            Ok(found) if found.0 == hash.0 => Ok(Sent::Taken),
            Ok(_) => Err(self.lie("it calls a transaction by another hash than it has")),
            Err(TransportError::Node { error, .. }) => Ok(sent_in_words(&error.message)),
            Err(error) => Err(error.into()),
        }
    }

    /// What became of a transaction; None while it is in no block.
    pub(super) async fn receipt(&self, hash: TxHash) -> Result<Option<Receipt>, Error> {
        let receipt: Option<ReceiptJson> = self.ask("eth_getTransactionReceipt", json!([H256(hash.0)])).await?;
        let Some(receipt) = receipt else { return Ok(None) };
        if receipt.transaction_hash.0 != hash.0 {
            return Err(self.lie("it gives the receipt of another transaction"));
        }
        let (Some(block), Some(block_hash)) = (receipt.block_number, receipt.block_hash) else { return Ok(None) };
        let gas_used = self.small(receipt.gas_used, "the gas of a transaction")?;
        let price = self.wei(receipt.effective_gas_price.unwrap_or_default(), "a gas price")?;
        let fee = price.0.checked_mul(u128::from(gas_used)).ok_or_else(|| self.lie("a fee is more than there is"))?;
        let is_success = receipt.status.is_none_or(|status| status.as_u64() == 1);
        Ok(Some(Receipt {
            hash,
            block: block.as_u64(),
            block_hash: BlockHash(block_hash.0),
            is_success,
            gas_used,
            fee: Wei(fee),
        }))
    }

    /// What a mined transaction had contracts log.
    pub(super) async fn logs_of(&self, hash: TxHash) -> Result<Vec<RawLog>, Error> {
        let receipt: Option<LogsJson> = self.ask("eth_getTransactionReceipt", json!([H256(hash.0)])).await?;
        let receipt = receipt.ok_or_else(|| Error::NotFound(format!("the transaction {hash} is in no block")))?;
        let logs = receipt.logs.into_iter().map(|log| self.checked_log(log)).collect::<Result<Vec<_>, _>>()?;
        if logs.iter().all(|log| log.transaction == hash) {
            return Ok(logs);
        }
        Err(self.lie("it gives the logs of another transaction"))
    }

    /// Whether the node has the transaction, mined or waiting.
    pub(super) async fn knows(&self, hash: TxHash) -> Result<bool, Error> {
        let found: Value = self.ask("eth_getTransactionByHash", json!([H256(hash.0)])).await?;
        Ok(!found.is_null())
    }

    /// The logs of these contracts in the blocks `from..=to`, in order. Refuses what was not asked for.
    pub(super) async fn logs(&self, contracts: &[EthereumAddress], from: u64, to: u64) -> Result<Vec<RawLog>, Error> {
        let addresses: Vec<H160> = contracts.iter().map(|address| H160(address.0)).collect();
        let filter = json!([{ "address": addresses, "fromBlock": U64::from(from), "toBlock": U64::from(to) }]);
        let logs: Vec<LogJson> = self.ask("eth_getLogs", filter).await?;
        let mut logs = logs.into_iter().map(|log| self.checked_log(log)).collect::<Result<Vec<_>, _>>()?;
        logs.sort_by_key(|log| (log.block, log.index));
        if logs.windows(2).any(|pair| (pair[0].block, pair[0].index) == (pair[1].block, pair[1].index)) {
            return Err(self.lie("two logs have one place"));
        }
        let is_asked = |log: &RawLog| contracts.contains(&log.address) && (from..=to).contains(&log.block);
        if logs.iter().all(is_asked) { Ok(logs) } else { Err(self.lie("it gives logs that were not asked for")) }
    }

    fn checked_log(&self, log: LogJson) -> Result<RawLog, Error> {
        let place = (log.block_number, log.block_hash, log.transaction_hash, log.log_index);
        let (Some(block), Some(block_hash), Some(transaction), Some(index)) = place else {
            return Err(self.lie("a log of a mined block has no place"));
        };
        if log.removed {
            return Err(self.lie("a log that is asked for is said to be removed"));
        }
        Ok(RawLog {
            address: EthereumAddress(log.address.0),
            topics: log.topics.into_iter().map(|topic| topic.0).collect(),
            data: log.data.to_vec(),
            block: block.as_u64(),
            block_hash: BlockHash(block_hash.0),
            transaction: TxHash(transaction.0),
            index: index.as_u64(),
        })
    }
}

impl At {
    fn to_json(self) -> Value {
        match self {
            At::Latest => json!("latest"),
            At::Pending => json!("pending"),
            At::Block(number) => json!(U64::from(number)),
        }
    }
}

fn call_json(from: EthereumAddress, call: &Call) -> Value {
    json!({
        "from": H160(from.0),
        "to": call.target().map(|to| H160(to.0)),
        "value": U256::from(call.value.0),
        "data": Bytes::from(call.data.clone()),
    })
}

/// Revert data of a node that does not say "revert": any hexadecimal text in the error's data.
fn revert_data(data: Option<&Value>) -> Option<Bytes> {
    let text = data?.as_str()?;
    let start = text.find("0x")?;
    text[start..].parse().ok()
}

/// Nodes tell these things in words only.
fn sent_in_words(message: &str) -> Sent {
    let words = message.to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    if says(&["already known", "known transaction", "already imported", "already in pool", "already exists"]) {
        Sent::Taken
    } else if says(&["nonce too low", "nonce is too low", "nonce has already been used", "old nonce"]) {
        Sent::NonceUsed
    } else {
        Sent::Refused(message.chars().take(limits::NODE_MESSAGE_CHARS).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_say_to_a_transaction_is_understood() {
        for taken in ["already known", "Known transaction: 0x12", "transaction already imported"] {
            assert_eq!(sent_in_words(taken), Sent::Taken, "{taken}");
        }
        for used in ["nonce too low", "Nonce too low: next nonce 5, tx nonce 3", "the tx nonce has already been used"] {
            assert_eq!(sent_in_words(used), Sent::NonceUsed, "{used}");
        }
        for refused in ["replacement transaction underpriced", "insufficient funds for gas * price + value", ""] {
            assert_eq!(sent_in_words(refused), Sent::Refused(refused.to_owned()));
        }
    }
}
