//! Serves a volume of a pool as the agent does, for a benchmark.
//!
//! `pool_export BACKEND FOLDER GIB RUN_DIR ADDRESS` makes a volume of so many GiB in a new pool, makes the server of that
//! backend (`iscsi`, `nfs` or `local`) run at that address, opens an export, and prints the volume's file and, on a line of its own,
//! the options by which QEMU opens the export, its secret among them: `qemu-img bench` takes no other. When its standard input ends,
//! it ends the server.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tepui_storage::{
    Access, Backend, Credential, Export, ExportError, Local, Pool, Source, Watermarks, iscsi, nfs,
};
use tepui_types::{ExportId, PoolId, VolumeId};

const MARKS: Watermarks = Watermarks { soft_percent: 98, hard_percent: 99 };
const SECRET: &str = "Benchmark0123456789";

/// A server that runs.
enum Server {
    Tgt(iscsi::Tgt),
    Ganesha(nfs::Ganesha),
    Local(Local),
}

impl Server {
    fn new(backend: &str, run_dir: &Path, address: Ipv4Addr) -> anyhow::Result<Self> {
        let run_dir = run_dir.join(backend);
        Ok(match backend {
            "iscsi" => {
                Self::Tgt(iscsi::Tgt::new(iscsi::Settings::new(run_dir, (address, iscsi::PORT).into())))
            }
            "nfs" => {
                let state_dir = run_dir.join("state");
                Self::Ganesha(nfs::Ganesha::new(nfs::Settings { run_dir, state_dir, address }))
            }
            "local" => Self::Local(Local::default()),
            other => anyhow::bail!("{other:?} is neither iscsi nor nfs nor local"),
        })
    }

    fn backend(&self) -> &dyn Backend {
        match self {
            Self::Tgt(tgt) => tgt,
            Self::Ganesha(ganesha) => ganesha,
            Self::Local(local) => local,
        }
    }

    async fn end(&self) -> Result<(), ExportError> {
        match self {
            Self::Tgt(tgt) => tgt.end().await?,
            Self::Ganesha(ganesha) => ganesha.end().await?,
            Self::Local(_) => {}
        }
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [backend, folder, gib, run_dir, address] = &arguments[..] else {
        anyhow::bail!("usage: pool_export BACKEND FOLDER GIB RUN_DIR ADDRESS")
    };
    let bytes = gib.parse::<u64>().context(gib.clone())? << 30;
    let address: Ipv4Addr = address.parse().context(address.clone())?;
    let run_dir = PathBuf::from(run_dir);
    fs::create_dir_all(&run_dir)?;
    let pool = Pool::create(Path::new(folder), PoolId::from_random(1), MARKS)?;
    let volume = VolumeId::from_random(1);
    let path = pool.create_volume(volume, bytes)?.path;
    let credential = Credential { secret: SECRET.into(), address: IpAddr::V4(address) };
    let export = Export {
        id: ExportId::from_random(1),
        volume,
        path: path.clone(),
        access: Access::ReadWrite,
        credential,
    };
    let server = Server::new(backend, &run_dir, address)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(serve(&server, &export, &path));
    // Also one that could not open its export does not stay.
    served.and(Ok(runtime.block_on(server.end())?))
}

async fn serve(server: &Server, export: &Export, path: &Path) -> anyhow::Result<()> {
    if let Some((id, error)) = server.backend().recover(&[]).await?.pop() {
        return Err(anyhow::Error::new(error).context(id.to_string()));
    }
    let source = server.backend().ensure(export).await?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}\n{}", path.display(), options(&source)?)?;
    out.flush()?;
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// How QEMU is told to open it.
fn options(source: &Source) -> anyhow::Result<String> {
    Ok(match source {
        Source::File { path } => format!("file.driver=file,file.filename={}", path.display()),
        Source::Iscsi { portal, target, lun, account, initiator } => format!(
            "file.driver=iscsi,file.transport=tcp,file.portal={portal},file.target={target},file.lun={lun},\
             file.initiator-name={initiator},file.user={account},file.password={SECRET}"
        ),
        Source::Nfs { server, path, user, group } => format!(
            "file.driver=nfs,file.server.type=inet,file.server.host={server},file.path={},file.user={user},\
             file.group={group}",
            path.display()
        ),
        other => anyhow::bail!("{other:?} has no options"),
    })
}
