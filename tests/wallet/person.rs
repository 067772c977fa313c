//! A person at a terminal: script(1) gives the program one, and what it shows is read as it comes.

use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use crate::home::Home;

/// The program has so long to show what is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Person {
    child: Child,
    keyboard: ChildStdin,
    shown: Receiver<Vec<u8>>,
    /// All that was shown.
    screen: String,
    /// How much of it was looked at.
    looked: usize,
}

impl Person {
    /// Sits down and types a command; `openbucket` in it is the program.
    pub fn new(home: &Home, line: &str) -> Self {
        let line = line.replace("openbucket", env!("CARGO_BIN_EXE_openbucket"));
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--echo", "always", "--command", &line, "/dev/null"]);
        home.prepare(&mut command);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script(1), of bsdutils");
        let (sender, shown) = channel();
        let mut output = child.stdout.take().unwrap();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let keyboard = child.stdin.take().unwrap();
        Self { child, keyboard, shown, screen: String::new(), looked: 0 }
    }

    /// Waits until words are shown after those that were waited for before.
    pub fn sees(&mut self, words: &str) {
        loop {
            if let Some(at) = self.screen[self.looked..].find(words) {
                self.looked += at + words.len();
                return;
            }
            match self.shown.recv_timeout(PATIENCE) {
                Ok(bytes) => self.screen.push_str(&String::from_utf8(bytes).unwrap()),
                Err(error) => panic!("'{words}' is not shown ({error}): {}", self.screen),
            }
        }
    }

    /// What is shown between here and these words, which are waited for.
    pub fn reads_until(&mut self, words: &str) -> String {
        let from = self.looked;
        self.sees(words);
        self.screen[from..self.looked - words.len()].to_owned()
    }

    pub fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// Waits for the end; the exit code and all that was shown.
    pub fn ends(mut self) -> (Option<i32>, String) {
        while let Ok(bytes) = self.shown.recv_timeout(PATIENCE) {
            self.screen.push_str(&String::from_utf8(bytes).unwrap());
        }
        (self.child.wait().unwrap().code(), self.screen)
    }
}
