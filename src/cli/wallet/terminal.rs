//! The terminal that a person sits at, also when standard input and output go elsewhere.

use std::{
    fs::File,
    io::{self, Read, Write},
};

use anyhow::{Context as _, bail};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::base::limits;

const INTERRUPT: u8 = 0x03;
const QUIT: u8 = 0x1c;

/// `/dev/tty`.
pub struct Terminal(File);

impl Terminal {
    /// None when this process has no terminal.
    pub fn open() -> Option<Self> {
        File::options().read(true).write(true).open("/dev/tty").ok().map(Self)
    }

    /// Says something.
    pub fn say(&mut self, words: &str) -> anyhow::Result<()> {
        writeln!(self.0, "{words}").context("cannot write to the terminal")
    }

    /// Asks for a line that is seen as it is typed.
    pub fn ask(&mut self, words: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        write!(self.0, "{words}").context("cannot write to the terminal")?;
        self.line()
    }

    /// Asks for a line that is not seen.
    pub fn ask_hidden(&mut self, words: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let quiet = Quiet::begin(&self.0).context("cannot hide what is typed on the terminal")?;
        let line = write!(self.0, "{words}").context("cannot write to the terminal").and_then(|()| self.line());
        quiet.end().context("cannot set the terminal back")?;
        self.say("")?;
        line
    }

    fn line(&mut self) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let mut line = Zeroizing::new(Vec::with_capacity(limits::PASSWORD_BYTES + 1));
        let mut byte = Zeroizing::new([0]);
        loop {
            let count = self.0.read(byte.as_mut_slice()).context("cannot read from the terminal")?;
            match byte[0] {
                b'\n' if count > 0 => return Ok(line),
                INTERRUPT | QUIT => bail!("interrupted: nothing was done"),
                _ if count == 0 => bail!("no answer: nothing was done"),
                control if control < b' ' => bail!("what was typed has a control character: nothing was done"),
                byte if line.len() <= limits::PASSWORD_BYTES => line.push(byte),
                _ => bail!("what was typed is too long: nothing was done"),
            }
        }
    }
}

/// While it lives, the terminal does not show what is typed. Ctrl-C and Ctrl-\ end the line instead of the process, which
/// would leave the terminal so.
struct Quiet {
    terminal: File,
    before: Option<Termios>,
}

impl Quiet {
    fn begin(terminal: &File) -> io::Result<Self> {
        let terminal = terminal.try_clone()?;
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        quiet.special_codes[SpecialCodeIndex::VEOL2] = QUIT;
        tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before: Some(before) })
    }

    fn end(mut self) -> io::Result<()> {
        self.set_back()
    }

    fn set_back(&mut self) -> io::Result<()> {
        match self.before.take() {
            Some(before) => Ok(tcsetattr(&self.terminal, OptionalActions::Drain, &before)?),
            None => Ok(()),
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Err(error) = self.set_back() {
            tracing::warn!(%error, "the terminal cannot be set back: type reset");
        }
    }
}
