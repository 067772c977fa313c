//! The manual page, made from the definition of the command line.

use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory;
use clap_mangen::Man;

use super::args::Cli;

/// The manual: every command on one page, as roff.
pub fn manual_pages() -> Vec<u8> {
    render().expect("writing to memory does not fail")
}

fn render() -> std::io::Result<Vec<u8>> {
    let mut command = Cli::command().disable_help_flag(false);
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone()).date("").source("openbucket").manual("OpenBucket");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    page.extend_from_slice(b".SH COMMANDS\n");
    for sub in command.get_subcommands() {
        render_command(&mut page, sub, "openbucket")?;
    }
    man.render_extra_section(&mut page)?;
    Ok(page)
}

fn render_command(page: &mut Vec<u8>, command: &clap::Command, parent: &str) -> std::io::Result<()> {
    if command.is_hide_set() || command.get_name() == "help" {
        return Ok(());
    }
    let name = format!("{parent} {}", command.get_name());
    let has_subcommands = command.get_subcommands().any(|sub| !sub.is_hide_set());
    if !has_subcommands || command.get_positionals().next().is_some() {
        page.extend_from_slice(format!(".SS \"{name}\"\n").as_bytes());
        let man = Man::new(command.clone());
        for section in [Man::render_synopsis_section, Man::render_description_section, Man::render_options_section] {
            let mut part = Vec::new();
            section(&man, &mut part)?;
            let text = String::from_utf8_lossy(&part).into_owned();
            let lines = text
                .lines()
                .filter(|line| !line.starts_with(".SH ") && !line.starts_with(".ie") && !line.starts_with(".el"));
            page.extend_from_slice(b".PP\n");
            for line in lines {
                page.extend_from_slice(line.as_bytes());
                page.push(b'\n');
            }
        }
    }
    for sub in command.get_subcommands() {
        render_command(page, sub, &name)?;
    }
    Ok(())
}

/// Prints the manual, or writes it to `DIRECTORY/openbucket.1`.
pub fn print(directory: Option<&Path>) -> anyhow::Result<()> {
    use std::io::Write;
    match directory {
        None => std::io::stdout().write_all(&manual_pages()).context("cannot write to standard output"),
        Some(directory) => {
            let path = directory.join("openbucket.1");
            std::fs::write(&path, manual_pages()).with_context(|| format!("cannot write {}", path.display()))
        }
    }
}
