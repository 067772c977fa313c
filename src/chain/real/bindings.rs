//! The contracts' calls, events and errors, generated from their ABI.

/// All ether. Written out, since the generator stumbles over two errors of one name in its ABI.
pub(super) mod vault {
    ethers::contract::abigen!(
        Vault,
        r"[
            function deposit(address account) external payable
            function withdraw(uint256 amount, address to) external
            function balanceOf(address account) external view returns (uint256)
            event Deposited(address indexed account, address indexed payer, uint256 amount)
            event Withdrawn(address indexed account, address indexed to, uint256 amount)
            event Held(address indexed market, bytes32 indexed pot, address indexed account, uint256 amount)
            event Paid(address indexed market, bytes32 indexed pot, address indexed account, uint256 amount)
            event Shifted(address indexed market, bytes32 indexed pot, address indexed toMarket, bytes32 toPot, uint256 amount)
        ]"
    );
}

/// Activations and offers.
pub(super) mod registry {
    ethers::contract::abigen!(Registry, "./contracts/abi/Registry.json");
}

/// What delegates may do.
pub(super) mod mandates {
    ethers::contract::abigen!(Mandates, "./contracts/abi/Mandates.json");
}

/// Agreements.
pub(super) mod agreements {
    ethers::contract::abigen!(Agreements, "./contracts/abi/Agreements.json");
}

/// Disputes.
pub(super) mod disputes {
    ethers::contract::abigen!(Disputes, "./contracts/abi/Disputes.json");
}
