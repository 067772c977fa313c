//! On a terminal: the phrase is confirmed, passwords are asked for twice and never shown, Ctrl-C leaves all in order.

use crate::{
    home::{Home, PASSWORD, owner, phrase_in},
    person::Person,
};

const TYPED: &str = "pass word 9";

/// Sits through the first part of `wallet create`; the words of the phrase.
fn choose_password(person: &mut Person) -> Vec<String> {
    person.sees("New password of the wallet: ");
    person.types(&format!("{TYPED}\n"));
    person.sees("The same again: ");
    person.types(&format!("{TYPED}\n"));
    person.sees("not shown again.");
    let shown = person.reads_until("Word ").replace('\r', "");
    phrase_in(&shown).split(' ').map(str::to_owned).collect()
}

#[test]
fn a_wallet_is_created_and_its_phrase_confirmed() {
    let home = Home::new();
    let mut person = Person::new(&home, "openbucket wallet create");
    person.sees("New password of the wallet: ");
    person.types("\n");
    person.sees("the password is empty");
    person.sees("New password of the wallet: ");
    person.types("one\n");
    person.sees("The same again: ");
    person.types("two\n");
    person.sees("not the same");
    let words = choose_password(&mut person);
    let mut asked = Vec::new();
    for number in 0..3 {
        let word: usize = person.reads_until(" of the phrase: ").parse().unwrap();
        asked.push(word);
        if number == 1 {
            person.types("nonsense\n");
            person.sees(&format!("nonsense\r\nThat is another word.\r\nWord {word} of the phrase: "));
        }
        person.types(&format!("{}\n", words[word - 1].to_uppercase()));
        if number < 2 {
            person.sees("Word ");
        }
    }
    assert!(asked.is_sorted() && asked[0] != asked[1] && asked[1] != asked[2], "{asked:?}");
    let (code, screen) = person.ends();
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains(&format!("account: {}", owner(&words.join(" ")))), "{screen}");
    assert!(!screen.contains(TYPED), "{screen}");
    assert!(home.opens(TYPED) && !home.opens("one"));
}

#[test]
fn a_phrase_that_is_not_confirmed_makes_no_wallet() {
    let home = Home::new();
    let mut person = Person::new(&home, "openbucket wallet create");
    choose_password(&mut person);
    for _ in 0..3 {
        person.sees("of the phrase: ");
        person.types("nonsense\n");
    }
    let (code, screen) = person.ends();
    assert_eq!(code, Some(1), "{screen}");
    assert!(screen.contains("no wallet was made"), "{screen}");
    assert_eq!(home.names(), ["lock"]);
}

#[test]
fn an_interrupted_question_changes_nothing_and_sets_the_terminal_back() {
    let home = Home::with_wallet();
    for (key, words) in [("x\u{3}", "interrupted"), ("\u{1c}", "interrupted"), ("\u{4}", "no answer")] {
        let mut person = Person::new(&home, "openbucket wallet accounts --add; echo code $?; stty -a");
        person.sees("Password of the wallet: ");
        person.types(key);
        let (_, screen) = person.ends();
        assert!(screen.contains(words) && screen.contains("code 1"), "{screen}");
        assert!(
            screen.contains("\nisig ") && screen.contains(" echo ") && screen.contains("eol = <undef>"),
            "{screen}"
        );
    }
    assert!(home.opens(PASSWORD));
}

#[test]
fn a_password_is_changed_on_a_terminal() {
    let home = Home::with_wallet();
    let mut person = Person::new(&home, "openbucket wallet password");
    person.sees("Password of the wallet: ");
    person.types("wrong\n");
    let (code, screen) = person.ends();
    assert!(code == Some(1) && screen.contains("wrong password") && !screen.contains("New password"), "{screen}");

    let mut person = Person::new(&home, "openbucket wallet password > /dev/null");
    person.sees("Password of the wallet: ");
    person.types(&format!("{PASSWORD}\n"));
    for prompt in ["New password of the wallet: ", "The same again: "] {
        person.sees(prompt);
        person.types(&format!("{TYPED}\n"));
    }
    let (code, screen) = person.ends();
    assert!(code == Some(0) && !screen.contains(TYPED) && !screen.contains(PASSWORD), "{screen}");
    assert!(home.opens(TYPED) && !home.opens(PASSWORD));
}
