//! What a file may be after a crash: one state when it was synced last, several when it was changed since.

/// The states that a file may be found in, oldest first; None is not there.
#[derive(Clone, Debug)]
pub struct Expected {
    states: Vec<Option<Vec<u8>>>,
    /// One of the states as a whole; otherwise each byte may be of another.
    is_whole: bool,
}

impl Expected {
    pub fn absent() -> Self {
        Self { states: vec![None], is_whole: false }
    }

    /// It may be so from now on, as well as before.
    pub fn may_become(&mut self, state: Option<Vec<u8>>) {
        self.states.push(state);
        self.is_whole = false;
    }

    /// It becomes so at once, if it does.
    pub fn may_become_whole(&mut self, state: Option<Vec<u8>>) {
        self.is_whole = self.states.len() == 1;
        self.states.push(state);
    }

    /// It is as it was to become.
    pub fn is_settled(&mut self) {
        self.states.drain(..self.states.len() - 1);
    }

    /// It was found so.
    pub fn is_found(&mut self, state: Option<Vec<u8>>) {
        self.states = vec![state];
    }

    /// As it is without a crash.
    pub fn newest(&self) -> Option<&Vec<u8>> {
        self.states.last().expect("there always is one").as_ref()
    }

    /// How many states there are.
    pub fn count(&self) -> usize {
        self.states.len()
    }

    /// Whether it may be found so; the reason if not.
    pub fn check(&self, found: Option<&[u8]>) -> Result<(), String> {
        let Some(found) = found else {
            let may_be_absent = self.states.iter().any(Option::is_none);
            return if may_be_absent { Ok(()) } else { Err("it is not there".to_owned()) };
        };
        let states: Vec<&Vec<u8>> = self.states.iter().flatten().collect();
        let lengths: Vec<usize> = states.iter().map(|state| state.len()).collect();
        let (Some(least), Some(most)) = (lengths.iter().min(), lengths.iter().max()) else {
            return Err("it was removed and is back".to_owned());
        };
        if self.is_whole || self.states.len() == 1 {
            let is_one = states.iter().any(|state| state.as_slice() == found);
            let at = states.last().and_then(|state| state.iter().zip(found).position(|(a, b)| a != b));
            let why = format!("it is no whole state: {} bytes, {lengths:?} wanted, from {at:?}", found.len());
            return if is_one { Ok(()) } else { Err(why) };
        }
        if !(*least..=*most).contains(&found.len()) {
            return Err(format!("it has {} bytes, not {least} to {most}", found.len()));
        }
        // A byte that no state had before it was written may read as zero.
        let is_possible = |at: usize, byte: u8| {
            (byte == 0 && at >= *least) || states.iter().any(|state| state.get(at) == Some(&byte))
        };
        match found.iter().enumerate().position(|(at, byte)| !is_possible(at, *byte)) {
            None => Ok(()),
            Some(at) => Err(format!("byte {at} is neither old nor new")),
        }
    }
}

#[test]
fn the_model_tells_old_and_new_from_garbage() {
    let mut expected = Expected::absent();
    expected.may_become(Some(b"abc".to_vec()));
    assert!(expected.check(None).is_ok() && expected.check(Some(b"abc")).is_ok());
    expected.is_settled();
    assert!(expected.check(None).is_err() && expected.check(Some(b"ab")).is_err());
    expected.may_become(Some(b"axcde".to_vec()));
    for good in [&b"abc"[..], b"axcde", b"axc", b"abcde", b"abc\0e"] {
        assert!(expected.check(Some(good)).is_ok(), "{good:?}");
    }
    for bad in [&b"ab"[..], b"ayc", b"a\0c", b"abcdef", b"abcxe"] {
        assert!(expected.check(Some(bad)).is_err(), "{bad:?}");
    }
    expected.is_settled();
    expected.may_become_whole(Some(b"other".to_vec()));
    assert!(expected.check(Some(b"axcde")).is_ok() && expected.check(Some(b"other")).is_ok());
    assert!(expected.check(Some(b"axher")).is_err() && expected.check(None).is_err());
    expected.may_become(None);
    expected.is_settled();
    assert!(expected.check(Some(b"other")).is_err());
}
