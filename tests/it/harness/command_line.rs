//! Command lines of other people for the management side, as an operator types them, each with a home of its own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::folders;
use super::server::Server;

/// Commands that have not ended after this long hang, even on a busy machine.
const LIMIT_S: &str = "120";

/// One installed command line and whoever uses it.
pub(crate) struct CommandLine {
    program: PathBuf,
    home: PathBuf,
    login: [(&'static str, String); 2],
    variables: Vec<(String, String)>,
}

impl CommandLine {
    /// `tbctl`, for somebody who has never logged in.
    pub(crate) fn tbctl(server: &Server, user: &str) -> Self {
        Self::new(server, "tbctl/bin/tbctl", user)
    }

    /// `tb`, of the package `thingsboard-cli`, for somebody who has never logged in.
    pub(crate) fn tb(server: &Server, user: &str) -> Self {
        Self::new(server, "thingsboard-cli/bin/tb", user)
    }

    fn new(server: &Server, program: &str, user: &str) -> Self {
        let home = server.scratch().join(user);
        fs::create_dir_all(&home).expect("the temporary folder takes a folder");
        let (program, login) = (folders::tool(program), server.login_variables());
        Self { program, home, login, variables: Vec::new() }
    }

    /// The same with a variable of the environment set.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where the commands run, and what they call home.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Where the server is.
    pub(crate) fn url(&self) -> &str {
        &self.login[0].1
    }

    /// The password of the administrator.
    pub(crate) fn password(&self) -> &str {
        &self.login[1].1
    }

    /// What a command prints that succeeds. The line is a shell's, without the name of the program.
    #[track_caller]
    pub(crate) fn says(&self, line: &str) -> String {
        self.answers(line, "")
    }

    /// The same where the command asks something first.
    #[track_caller]
    pub(crate) fn answers(&self, line: &str, typed: &str) -> String {
        let (succeeded, said, complaint) = self.run(line, typed);
        assert!(succeeded, "{line}\n{said}\n{complaint}");
        said
    }

    /// What a command prints as JSON.
    #[track_caller]
    pub(crate) fn json(&self, line: &str) -> Value {
        let said = self.says(line);
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{line}: {error}\n{said}"))
    }

    /// Insists that a command fails with these words.
    #[track_caller]
    pub(crate) fn refuses(&self, line: &str, words: &str) {
        self.refuses_after(line, "", words);
    }

    /// The same where the command asks something first.
    #[track_caller]
    pub(crate) fn refuses_after(&self, line: &str, typed: &str, words: &str) {
        let (succeeded, said, complaint) = self.run(line, typed);
        assert!(!succeeded, "{line} was not refused\n{said}");
        let all = format!("{said}\n{complaint}");
        assert!(all.contains(words), "{words:?} is not in what {line} printed:\n{all}");
    }

    /// Runs lines of a document, where the program is on the path; what all of them print.
    #[track_caller]
    pub(crate) fn documented(&self, lines: &str) -> String {
        let (succeeded, said, complaint) = self.shell(lines, "");
        assert!(succeeded, "{lines}\n{said}\n{complaint}");
        said
    }

    fn run(&self, line: &str, typed: &str) -> (bool, String, String) {
        self.shell(&format!("exec '{}' {line}", self.program.display()), typed)
    }

    fn shell(&self, lines: &str, typed: &str) -> (bool, String, String) {
        // A session of its own, so that a password is read from what is typed here and not from a terminal.
        let mut command = Command::new("timeout");
        command.args([LIMIT_S, "setsid", "-w", "sh", "-ec", lines]).current_dir(&self.home);
        let folder = self.program.parent().expect("a program lies in a folder").display();
        command.env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap_or_default()));
        command.envs(self.login.iter().map(|(name, value)| (name, value)));
        // Wide tables without colours; nobody else's servers are asked for news.
        command.env("HOME", &self.home).env("TB_CONFIG_HOME", self.home.join("tb"));
        command.env("COLUMNS", "240").env("NO_COLOR", "1").env("TERM", "dumb").env("DO_NOT_TRACK", "1");
        command.env("NO_PROXY", "127.0.0.1").env("HTTPS_PROXY", "http://127.0.0.1:9");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = piped.spawn().expect("`timeout` of coreutils runs");
        let mut input = process.stdin.take().expect("it was piped");
        // A command that asks nothing may have ended before.
        input.write_all(typed.as_bytes()).ok();
        drop(input);
        let output = process.wait_with_output().expect("a process that was started ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }
}
