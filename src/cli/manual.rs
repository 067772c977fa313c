//! The manual pages, made from the definition of the command line and the table of mount options.

use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory;
use clap_mangen::Man;

use super::args::Cli;
use crate::config::{MOUNT_OPTIONS, OptionOwner};

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

/// Before the options of mount.openbucket(8).
const MOUNT_HEAD: &str = r#".TH mount.openbucket 8 "" openbucket OpenBucket
.SH NAME
mount.openbucket \- mount a bucket from fstab
.SH SYNOPSIS
.B mount.openbucket openbucket
.I DIR
[\fB\-sfnv\fR] [\fB\-o\fR \fILIST\fR]
.SH DESCRIPTION
The program openbucket under the name by which mount(8) looks for the helper of a file system type; people call
mount(8). A line of fstab(5):
.PP
.nf
openbucket /mnt/photos openbucket bucket=photos,state=/var/lib/openbucket,_netdev,nofail 0 0
.fi
.PP
The source is always the word openbucket; the bucket is named by an option. The keys are made first, once, with
openbucket init \-\-state DIR, and are read from there without a question: a key file that others may read is refused.
.PP
mount(8) comes back when files can be used. A tracker that cannot be reached is no reason to wait: what is known is
served, what is written is staged, and openbucket status says so. umount(8) ends the daemon; what is not uploaded yet is
kept for the next mount, which waits until an earlier daemon has closed the state. openbucket umount uploads first.
.PP
After a daemon was killed, mount DIR clears what is left of its mount and mounts anew; mount \-a takes that for mounted.
A remount changes the flags to those of the line and of the command together, as mount(8) has it.
.PP
With a line that has the option user or users, an ordinary user mounts with a state directory of their own, through
fusermount3, without suid and dev.
.SH FLAGS
.TP
.B \-f
Check everything, and mount nothing.
.TP
.B \-n
Nothing: there is no /etc/mtab to be written.
.TP
.B \-s
Pass over options that nobody knows, with a warning, instead of refusing them.
.TP
.B \-v
Log more.
"#;

/// After them.
const MOUNT_TAIL: &str = r#".SH NOTES
Where the daemon may (with CAP_SYS_NICE, as root's has), its threads that take the kernel's requests come before other work
for the processors (a nice value lower by 10; see sched(7)): all who use files of the mount wait for them. They ask for short
slices, too, which needs no privilege (Linux 6.12; see sched_setattr(2)), and so do those that wait for the disk. Where the
system shares its processors among sessions or control groups, this counts within that of the daemon.
.SH EXIT STATUS
0 mounted, 1 wrong usage, 32 failed; one line on stderr says why.
.SH SEE ALSO
openbucket(1), mount(8), fstab(5), systemd.mount(5)
"#;

/// The manual of the mount helper, as roff: every option of the one table.
pub fn mount_manual() -> Vec<u8> {
    let mut page = MOUNT_HEAD.to_owned();
    let sections = [
        ("OPTIONS OF THE BUCKET", OptionOwner::Bucket, "Each is a key of the configuration, too; see openbucket(1).\n"),
        ("OPTIONS OF THE MOUNT", OptionOwner::Kernel, ""),
        (
            "WORDS FOR OTHERS",
            OptionOwner::Others,
            "Taken, and not used here; so is all that begins with x\\- or X\\-.\n",
        ),
    ];
    for (title, owner, words) in sections {
        page.push_str(&format!(".SH {title}\n{words}"));
        for option in MOUNT_OPTIONS.iter().filter(|option| option.owner == owner) {
            let value = option.value.map(|value| format!("=\\fI{value}\\fR")).unwrap_or_default();
            let refused = if option.is_refused() { "Refused: " } else { "" };
            let help = option.help.replace('-', "\\-");
            page.push_str(&format!(".TP\n\\fB{}\\fR{value}\n{refused}{help}\n", option.name.replace('-', "\\-")));
        }
    }
    page.push_str(MOUNT_TAIL);
    page.into_bytes()
}

/// Prints the manual, or writes all pages to a directory.
pub fn print(directory: Option<&Path>) -> anyhow::Result<()> {
    use std::io::Write;
    let Some(directory) = directory else {
        return std::io::stdout().write_all(&manual_pages()).context("cannot write to standard output");
    };
    for (name, page) in [("openbucket.1", manual_pages()), ("mount.openbucket.8", mount_manual())] {
        let path = directory.join(name);
        std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
