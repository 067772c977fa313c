//! Choosing candidates: at random weighted by free space, strangers to each other first.

use std::collections::HashSet;

use crate::{
    base::{OwnerId, PeerId},
    runtime::Chance,
};

/// What the choice depends on.
#[derive(Clone, Debug)]
pub struct Choice {
    pub peer: PeerId,
    pub owner: OwnerId,
    pub prefix: String,
    pub free_bytes: u64,
}

/// Those of whom one should not choose a second, if there are others.
#[derive(Debug, Default)]
pub struct Taken {
    pub owners: HashSet<OwnerId>,
    pub prefixes: HashSet<String>,
}

/// At most `count` of these. First those that share neither owner nor prefix with one chosen or taken before, then
/// those that share one of them, then the rest; each time in a random order weighted by free space (Efraimidis and
/// Spirakis, "Weighted random sampling with a reservoir", 2006: the order of -ln(u)/weight).
pub fn choose(pool: Vec<Choice>, count: usize, mut taken: Taken, chance: &dyn Chance) -> Vec<PeerId> {
    let draw = |choice: Choice| {
        // In (0, 1].
        let uniform = ((chance.u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        (-uniform.ln() / choice.free_bytes.max(1) as f64, choice)
    };
    let mut pool: Vec<(f64, Choice)> = pool.into_iter().map(draw).collect();
    pool.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut rest: Vec<Choice> = pool.into_iter().map(|(_, choice)| choice).collect();
    let mut chosen = Vec::new();
    for most_shared in 0..=2 {
        let mut skipped = Vec::new();
        for choice in rest {
            let is_known = [taken.owners.contains(&choice.owner), taken.prefixes.contains(&choice.prefix)];
            let shared = is_known.iter().filter(|&&known| known).count();
            if chosen.len() < count && shared <= most_shared {
                chosen.push(choice.peer);
                taken.owners.insert(choice.owner);
                taken.prefixes.insert(choice.prefix);
            } else {
                skipped.push(choice);
            }
        }
        rest = skipped;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::runtime::SeededChance;

    fn choice(peer: u8, owner: u8, prefix: u8, free_bytes: u64) -> Choice {
        let (peer, owner) = (PeerId([peer; 32]), OwnerId([owner; 32]));
        Choice { peer, owner, prefix: prefix.to_string(), free_bytes }
    }

    proptest! {
        #[test]
        fn strangers_come_first_and_nobody_twice(
            parts in prop::collection::vec((0u8..6, 0u8..6, 1u64..1000), 0..40),
            count in 0usize..20,
            seed: u64,
        ) {
            let pool: Vec<Choice> = parts
                .iter()
                .enumerate()
                .map(|(peer, &(owner, prefix, free))| choice(peer as u8, owner, prefix, free))
                .collect();
            let chosen = choose(pool.clone(), count, Taken::default(), &SeededChance::new(seed));
            prop_assert_eq!(chosen.len(), count.min(pool.len()));
            prop_assert_eq!(chosen.iter().collect::<HashSet<_>>().len(), chosen.len());
            // How much each shares with those before it never falls, and nobody left out shares less.
            let mut taken = Taken::default();
            let of = |peer: &PeerId| &pool[usize::from(peer.0[0])];
            let shared = |taken: &Taken, choice: &Choice| {
                usize::from(taken.owners.contains(&choice.owner)) + usize::from(taken.prefixes.contains(&choice.prefix))
            };
            for (index, peer) in chosen.iter().enumerate() {
                let left_out = pool.iter().filter(|choice| !chosen[..index].contains(&choice.peer));
                let least = left_out.map(|choice| shared(&taken, choice)).min().expect("there is one");
                prop_assert_eq!(shared(&taken, of(peer)), least);
                taken.owners.insert(of(peer).owner);
                taken.prefixes.insert(of(peer).prefix.clone());
            }
        }
    }

    #[test]
    fn more_free_space_is_chosen_more_often_in_proportion() {
        let chance = SeededChance::new(5);
        let pool = [choice(1, 1, 1, 300), choice(2, 2, 2, 100), choice(3, 3, 3, 0)];
        let mut counts = [0; 4];
        for _ in 0..4000 {
            let first = choose(pool.to_vec(), 1, Taken::default(), &chance)[0];
            counts[usize::from(first.0[0])] += 1;
        }
        assert!((2800..3200).contains(&counts[1]), "{counts:?}");
        assert!(counts[3] < 100, "{counts:?}");
    }

    #[test]
    fn whoever_is_a_neighbour_of_the_taken_comes_last() {
        let pool = vec![choice(1, 1, 1, 1 << 40), choice(2, 2, 2, 1)];
        let taken = Taken { owners: [OwnerId([1; 32])].into(), prefixes: HashSet::new() };
        for seed in 0..20 {
            let taken = Taken { owners: taken.owners.clone(), ..Taken::default() };
            let chosen = choose(pool.clone(), 2, taken, &SeededChance::new(seed));
            assert_eq!(chosen, [PeerId([2; 32]), PeerId([1; 32])]);
        }
    }
}
