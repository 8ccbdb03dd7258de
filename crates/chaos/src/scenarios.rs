//! All that happens, scenario by scenario.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use crate::crew::{Crew, Post};
use crate::proxy::{Proxy, Turn};
use crate::scenario::{Fault, Report, Scene, Size, of_processes};
use crate::servers::black_hole;
use crate::servers::mariadb::{Mariadb, cluster};
use crate::servers::postgres::Postgres;
use crate::worker::{Backend, Pace, mariadb, postgres, sqlite};

type Play = fn(&'static str, Size, &Path) -> Option<Report>;

/// Name, whether it is in the short form, and what it does.
pub const ALL: [(&str, bool, Play); 9] = [
    ("SQLite: processes, a second writer", true, sqlite_processes),
    ("SQLite: a full disk", false, sqlite_full_disk),
    (
        "SQLite: a file that turns read-only",
        false,
        sqlite_read_only,
    ),
    (
        "PostgreSQL: processes, sessions, crashes of the server, clocks",
        true,
        postgres_server,
    ),
    (
        "PostgreSQL: failover to a synchronous standby",
        false,
        postgres_failover,
    ),
    ("PostgreSQL: network", false, postgres_network),
    (
        "MariaDB: processes, sessions, crashes of the server, deadlocks, clocks",
        true,
        mariadb_server,
    ),
    ("MariaDB: network", false, mariadb_network),
    (
        "Galera: three nodes, one killed, one cut off",
        false,
        galera,
    ),
];

const WORKERS: usize = 4;

fn posts(url: &str) -> Vec<Post> {
    let url = url.to_owned();
    vec![
        Post {
            url,
            ..Post::default()
        };
        WORKERS
    ]
}

/// The library by which a process sees another time, in the folder of its
/// architecture.
fn faketime() -> Option<String> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    let mut paths = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    Some(paths.find(|path| path.exists())?.to_str()?.to_owned())
}

/// Workers whose clocks are hours apart.
fn posts_apart(url: &str) -> Vec<Post> {
    let mut posts = posts(url);
    let Some(faketime) = faketime() else {
        println!(
            "chaos: libfaketime is missing, so the clocks are alike: apt-get install faketime"
        );
        return posts;
    };
    for (post, shift) in posts.iter_mut().zip(["-9h", "+0", "+7h", "+30d"]) {
        post.env = vec![
            ("LD_PRELOAD", faketime.clone()),
            ("FAKETIME", shift.to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
    }
    posts
}

fn scene<'a>(
    name: &'static str,
    backend: Backend,
    size: Size,
    folder: &'a Path,
    posts: Vec<Post>,
    url: &'a str,
) -> Scene<'a> {
    Scene {
        name,
        backend,
        size,
        pace: Pace {
            threads: 2,
            batch: 4,
            takes: Duration::from_millis(40),
        },
        folder,
        posts,
        url,
        prepared: None,
    }
}

/// On SQLite one transaction at a time runs, so jobs are shorter, and fewer.
fn sqlite_scene<'a>(
    name: &'static str,
    size: Size,
    folder: &'a Path,
    posts: Vec<Post>,
    url: &'a str,
) -> Scene<'a> {
    let size = Size {
        jobs: size.jobs / 2,
        ..size
    };
    let mut scene = scene(name, sqlite::BACKEND, size, folder, posts, url);
    scene.pace.takes = Duration::from_millis(10);
    scene
}

fn sleep(seconds: f64) {
    thread::sleep(Duration::from_secs_f64(seconds));
}

fn sqlite_processes(name: &'static str, size: Size, folder: &Path) -> Option<Report> {
    let url = folder.join("jobs.db").to_str()?.to_owned();
    let mut faults = of_processes();
    faults.push(Fault::of_all("another program writes for seconds", || {
        let mut conn = SqliteConnection::establish(&url).unwrap();
        conn.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
        // It may not get its turn in time.
        if conn.batch_execute("BEGIN IMMEDIATE").is_ok() {
            sleep(2.5);
            conn.batch_execute("COMMIT").unwrap();
        }
    }));
    Some(sqlite_scene(name, size, folder, posts(&url), &url).play(faults))
}

fn sqlite_full_disk(name: &'static str, size: Size, folder: &Path) -> Option<Report> {
    let disk = folder.join("disk");
    fs::create_dir(&disk).unwrap();
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"])
        .arg(&disk);
    if !mount.output().is_ok_and(|done| done.status.success()) {
        println!("chaos: left out, as only root can mount a small disk: {name}");
        return None;
    }
    let url = disk.join("jobs.db").to_str()?.to_owned();
    let ballast = disk.join("ballast");
    let mut faults = of_processes();
    faults.push(Fault::of_all("the disk is full", || {
        // As much as there is; the error at the end is what is wanted.
        let _ = fs::write(&ballast, vec![0; 16 << 20]);
        sleep(1.5);
        fs::remove_file(&ballast).unwrap();
    }));
    let report = sqlite_scene(name, size, folder, posts(&url), &url).play(faults);
    let unmounted = Command::new("umount").arg(&disk).status();
    assert!(unmounted.unwrap().success());
    Some(report)
}

fn sqlite_read_only(name: &'static str, size: Size, folder: &Path) -> Option<Report> {
    let home = folder.join("home");
    fs::create_dir(&home).unwrap();
    let url = home.join("jobs.db").to_str()?.to_owned();
    let allow = |is_writable: bool| {
        let (of_folder, of_file) = if is_writable {
            (0o777, 0o666)
        } else {
            (0o555, 0o444)
        };
        for entry in fs::read_dir(&home).unwrap() {
            // The files beside the database come and go.
            let _ = fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(of_file));
        }
        fs::set_permissions(&home, fs::Permissions::from_mode(of_folder)).unwrap();
    };
    fs::set_permissions(&home, fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    // Root writes whatever the permissions say.
    let mut posts = posts(&url);
    posts.iter_mut().for_each(|post| post.user = Some("nobody"));
    let mut faults = of_processes();
    // Whoever has it open writes on; a new process finds it so.
    let read_only = Fault::of_one("the file is read-only", |crew: &mut Crew| {
        allow(false);
        crew.kill_one();
        crew.kill_one();
        sleep(2.0);
        allow(true);
    });
    faults.push(Fault {
        hits_all: true,
        ..read_only
    });
    let mut scene = sqlite_scene(name, size, folder, posts, &url);
    scene.prepared = Some(Box::new(|| allow(true)));
    Some(scene.play(faults))
}

fn postgres_server(name: &'static str, size: Size, folder: &Path) -> Option<Report> {
    let server = RefCell::new(Postgres::start(folder, "postgres"));
    let url = server.borrow().url();
    let mut faults = of_processes();
    faults.push(Fault::of_all("sessions are terminated", || {
        server.borrow().terminate_backends()
    }));
    faults.push(Fault::of_all("immediate restart", || server.borrow_mut().restart()).at_most(4));
    faults.push(
        Fault::of_all("kill -9 of the server", || {
            server.borrow_mut().kill_and_start()
        })
        .at_most(4),
    );
    let scene = scene(
        name,
        postgres::BACKEND,
        size,
        folder,
        posts_apart(&url),
        &url,
    );
    Some(scene.play(faults))
}

fn postgres_failover(name: &'static str, size: Size, folder: &Path) -> Option<Report> {
    let primary = RefCell::new(Postgres::start(folder, "primary"));
    let standby = primary.borrow().standby(folder);
    let url = primary.borrow().url_with(&standby);
    let mut faults = of_processes();
    faults.push(
        Fault::of_all("the primary is killed, the standby promoted", || {
            primary.borrow_mut().kill();
            sleep(3.0); // what a supervisor takes to be sure
            standby.promote();
        })
        .once_halfway(),
    );
    let scene = scene(name, postgres::BACKEND, size, folder, posts(&url), &url);
    Some(scene.play(faults))
}

/// What may happen to the lines between workers and server.
fn of_lines(proxy: &Proxy) -> Vec<Fault<'_>> {
    let mut faults = of_processes();
    for (name, turn) in [
        ("a request is cut", Turn::Request),
        ("an answer is cut", Turn::Answer),
    ] {
        faults.push(Fault::of_all(name, move || {
            proxy.cut(turn, fastrand::usize(1..40))
        }));
    }
    faults.push(Fault::of_all("all lines are cut", || proxy.cut_all()));
    faults.push(Fault::of_all("nobody gets through for seconds", || {
        proxy.goes_away();
        sleep(2.0);
        proxy.returns();
    }));
    let address = proxy.url().split(['@', '/']).nth(3);
    let port = address.and_then(|address| address.rsplit(':').next()?.parse().ok());
    let port = port.expect("the port of the proxy");
    if black_hole(port, 0.0) {
        faults.push(Fault::of_all(
            "packets are swallowed for seconds",
            move || {
                black_hole(port, 7.0);
            },
        ));
    } else {
        println!("chaos: no packets are swallowed: that takes root, and apt-get install iptables");
    }
    faults
}

/// Workers to whom the server is what is behind a proxy.
fn network(
    name: &'static str,
    backend: Backend,
    size: Size,
    folder: &Path,
    url: &str,
    freeze: impl Fn(f64),
) -> Option<Report> {
    let proxy = Proxy::to(url);
    let mut faults = of_lines(&proxy);
    faults.push(Fault::of_all("the server says nothing for seconds", || {
        freeze(4.0)
    }));
    let scene = scene(name, backend, size, folder, posts(proxy.url()), url);
    Some(scene.play(faults))
}

fn postgres_network(name: &'static str, size: Size, folder: &Path) -> Option<Report> {
    let server = Postgres::start(folder, "postgres");
    let freeze = |seconds| server.freeze(seconds);
    network(name, postgres::BACKEND, size, folder, &server.url(), freeze)
}

fn mariadb_server(name: &'static str, size: Size, folder: &Path) -> Option<Report> {
    let server = RefCell::new(Mariadb::start(folder, "mariadb", &[]));
    let url = server.borrow().url();
    let mut faults = of_processes();
    faults.push(Fault::of_all("sessions are ended", || {
        server.borrow().end_sessions()
    }));
    faults.push(Fault::of_all("rows are locked in another order", || {
        server.borrow().get_in_the_way()
    }));
    faults.push(
        Fault::of_all("kill -9 of the server", || {
            server.borrow_mut().kill_and_start()
        })
        .at_most(4),
    );
    let scene = scene(
        name,
        mariadb::BACKEND,
        size,
        folder,
        posts_apart(&url),
        &url,
    );
    Some(scene.play(faults))
}

fn mariadb_network(name: &'static str, size: Size, folder: &Path) -> Option<Report> {
    let server = Mariadb::start(folder, "mariadb", &[]);
    let freeze = |seconds| server.freeze(seconds);
    network(name, mariadb::BACKEND, size, folder, &server.url(), freeze)
}

fn galera(name: &'static str, size: Size, folder: &Path) -> Option<Report> {
    if !Path::new("/usr/lib/galera/libgalera_smm.so").exists() {
        println!("chaos: left out, as the packages galera-4 and rsync are missing: {name}");
        return None;
    }
    let nodes = cluster(folder);
    let urls: Vec<_> = nodes.iter().map(Mariadb::url).collect();
    let posts = urls.iter().map(|url| Post {
        url: url.clone(),
        ..Post::default()
    });
    let posts = posts.cycle().take(6).collect();
    let nodes = RefCell::new(nodes);
    let mut faults = of_processes();
    // The first node stays: it is the one that is asked in the end.
    faults.push(
        Fault::of_all("kill -9 of a node", || {
            let n = fastrand::usize(1..3);
            nodes.borrow_mut()[n].kill_and_start();
        })
        .at_most(3),
    );
    faults.push(
        Fault::of_all("a node is cut off and rejoins", || {
            let n = fastrand::usize(1..3);
            nodes.borrow()[n].freeze(8.0); // by then the others go on without it
        })
        .at_most(3),
    );
    // A node takes its time to come back.
    let faults_for = size.faults_for * 2;
    let size = Size { faults_for, ..size };
    let scene = scene(name, mariadb::BACKEND, size, folder, posts, &urls[0]);
    Some(scene.play(faults))
}
