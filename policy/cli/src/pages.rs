//! The man pages and completions of the package, made from the same definitions as `--help`.
//!
//! `cargo run -p mqtt-acl-cli --features pages -- FOLDER` writes them.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// Writes them into the folder that is the only argument.
pub(crate) fn write<Arguments: CommandFactory>() -> io::Result<()> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or_else(|| io::Error::other("usage: mqtt-acl FOLDER"))?);
    fs::create_dir_all(&folder)?;
    let mut program = Arguments::command();
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut program, "mqtt-acl", &folder)?;
    }
    let mut program = Arguments::command().disable_help_subcommand(true);
    program.build();
    pages(&program, "mqtt-acl", &folder)
}

/// A page for the command, and one for each of its sub-commands.
fn pages(command: &Command, name: &str, folder: &Path) -> io::Result<()> {
    page(command, name, folder)?;
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        pages(command, &format!("{name}-{}", command.get_name()), folder)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str, folder: &Path) -> io::Result<()> {
    let file = &mut File::create(folder.join(format!("{name}.1")))?;
    let man = Man::new(command.clone().display_name(name)).source(concat!("mqtt-acl ", env!("CARGO_PKG_VERSION")));
    man.render_title(file)?;
    man.render_name_section(file)?;
    man.render_synopsis_section(file)?;
    man.render_description_section(file)?;
    man.render_options_section(file)?;
    if command.has_subcommands() {
        man.render_subcommands_section(file)?;
    }
    if let Some(text) = command.get_after_help() {
        sections(&text.to_string(), file)?;
    }
    Ok(())
}

/// What follows the options in `--help`: headings that end with a colon, and indented lines, which stay as they are.
fn sections(text: &str, file: &mut impl Write) -> io::Result<()> {
    let mut roff = Roff::new();
    let mut verbatim = false;
    for line in text.lines() {
        let indented = line.strip_prefix("  ");
        if verbatim != indented.is_some() {
            verbatim = !verbatim;
            roff.control(if verbatim { "nf" } else { "fi" }, []);
        }
        if let Some(line) = indented {
            roff.text([roman(line)]);
        } else if let Some(heading) = line.strip_suffix(':').filter(|heading| heading.len() < 20) {
            roff.control("SH", [heading.to_uppercase().as_str()]);
        } else if line.is_empty() {
            roff.control("PP", []);
        } else {
            roff.text([roman(line)]);
        }
    }
    if verbatim {
        roff.control("fi", []);
    }
    roff.to_writer(file)
}
