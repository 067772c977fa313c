//! Test vectors of the format, made by a second implementation written from the documentation alone.
//!
//! They hold the format of version 1 for ever: never change one, add a version.

use super::{BlockEntry, BucketKey, Layout, chunk::encode_as, merkle, open_blocks};
use crate::base::{ChunkId, Scheme, sha256};

/// The bytes (i * 7 + i / 1024 * 13) mod 251 for i in 0..length.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 7 + at / 1024 * 13) % 251) as u8).collect()
}

/// SHA-256 of 0, 1, 2, ... as four big-endian bytes, one after the other, cut to `length`.
fn stream(length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length.div_ceil(32) as u32).flat_map(|at| sha256(&[&at.to_be_bytes()])).collect();
    bytes.truncate(length);
    bytes
}

/// The bytes 0, 1, ... 31.
fn key() -> BucketKey {
    BucketKey::new(std::array::from_fn(|at| at as u8))
}

/// The bytes 32, 33, ... 63.
fn chunk() -> ChunkId {
    ChunkId(std::array::from_fn(|at| 32 + at as u8))
}

#[test]
fn merkle_roots_of_patterns() {
    for (length, root) in [
        (0, "af92244b13fd089dcef11b04c72bd5698b8848ce585ccce6e11b04006cb77c70"),
        (1, "88760bde9f43484ce6a64db3658636fbf3dfbc71472f414f2dc8c12fc4e4f388"),
        (1023, "b0b65502cbc381a11dcbc5590902857b0ec64f8fb61ebcbc8683fdf774db7810"),
        (1024, "ed7a25ef48a46a891a4649f721317788a8df26d7b0bd05997e3a8eee9e9b85db"),
        (1025, "8d7105147ae01f164221a2963f105d8e39e9e931182b3c7d4ea4eaad3d31b941"),
        (2048, "55cd42caadf505b25a2ab8095e64fdf2b24c04bb970fea1f206037c6ab7555b7"),
        (3072, "e6b60edd7275bb7301ab954debad01edeb1f0e00dd2e573e681f61a7059ff12f"),
        (5120, "19abbf4ae29800aa5589f35c3231a49e261128817c1e6c6ae0e2e65f6ac1ae5b"),
        (6644, "ff5886235951b89c56ce9a369c3d4b93c7ce45822abb4cdeb6e2bf0f2dae1d6b"),
        (7168, "c27ba0cfb9d24424b8977dfad21aadb986bb22ff741e9d7128670fab321bbe49"),
        (65536, "ee96698ac6cfb28503cd987b795b6a65d89d3e02202872f7015941ce7135c1ff"),
    ] {
        assert_eq!(merkle::root(&pattern(length)).to_string(), root, "{length} bytes");
    }
}

#[test]
fn a_merkle_range_proof() {
    let proof = merkle::Tree::build(&pattern(7168)).range_proof(2..5);
    assert_eq!(
        proof.iter().map(hex::encode).collect::<Vec<_>>(),
        [
            "eee79333770efbeb63de4280470b1157b3f40fc5f1db995dd35805f85b0c8be4",
            "8afa48e0324a1eb62a6b50bb965d582b80569ac653729f9f1db4501ed1a5c991",
            "9aceb214fe4a7ec8111b62a0cbef92903243c005cf887b0e8641aa0c43322832",
        ]
    );
}

#[test]
fn a_chunk_that_does_not_shrink() {
    let encoded = encode_as(&key(), &stream(70_000), Scheme::new(3, 2).unwrap(), chunk()).unwrap();
    assert_eq!(encoded.layout.shard_len, 23_552);
    let roots: Vec<String> = encoded.roots.iter().map(ToString::to_string).collect();
    assert_eq!(
        roots,
        [
            "c2c59b43a90d90543290e0a7dc670fda5ea75695b482c37c166649b039c8d025",
            "1b1ba6f0657571e12a73e320e831d9d7ce1ae34b05a1178a01a4d066e1d859a6",
            "48d16c382877039a31bc7887f0e645d8dea0a82c9b435060863655bdf397ce83",
            "ed120fa3ba64591c7f6f743dd00afc3c0f874365bd5e6aec8ab81e011e58a261",
            "d51ebef43f1df9b4258d94ddf808499397dfd8f729dc2ff6ec2d424eefb57d73",
        ]
    );
}

#[test]
fn small_chunks() {
    let empty = encode_as(&key(), &[], Scheme::FREE, chunk()).unwrap();
    let root = "fff4a28dcab30f6f261b341138682a82d2ff60e953fd75447f049a6a75da7626";
    assert_eq!(empty.roots.iter().map(ToString::to_string).collect::<Vec<_>>(), [root, root]);
    let short = encode_as(&key(), &stream(40), Scheme::new(60, 4).unwrap(), chunk()).unwrap();
    assert_eq!(short.roots[0].to_string(), "775ac6357b51432ae83c6c4df212a299db5c7c73c2d0640b7f20062a1e750036");
    assert_eq!(short.roots[63].to_string(), "f8668ddb5cc11bc5424b384c673cfe552f695d24aba8f016b561c58543932e3e");
}

#[test]
fn a_chunk_that_shrinks_is_read_for_ever() {
    // What zstd makes of a block may change from release to release; what was made must stay readable.
    let table = "01202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f0402f0a2048008022d012d01";
    let sealed = "2dc91ba42a42bdff93ecce46476fc1a99594464c522d32dc632ab8a3a7bd8a7f1176c4a08f7282de8fd7\
                  0077317a6d693e222eb9615440d99cd0dac24be2ad4539bfa51ceb86f61b08a40e1d8f3bad02509140da\
                  5c2868434e40";
    let layout: Layout = postcard::from_bytes(&hex::decode(table).unwrap()).unwrap();
    let block = BlockEntry { sealed_len: 45, is_compressed: true };
    let expected = Layout {
        format: 1,
        chunk: chunk(),
        scheme: Scheme::BASIC,
        plain_len: 70_000,
        shard_len: 1024,
        blocks: vec![block; 2],
    };
    assert_eq!((&layout, layout.validate()), (&expected, Ok(())));
    assert_eq!(hex::encode(postcard::to_stdvec(&layout).unwrap()), table);
    let plain = open_blocks(&key(), &layout, 0..2, &[hex::decode(sealed).unwrap()]).unwrap();
    assert!(plain == b"openbucket ".repeat(7000)[..70_000]);
}
