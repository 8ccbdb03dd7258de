//! Any pool of `r2d2`, whatever opens its connections.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use r2d2::{ManageConnection, Pool};

/// A connection of a pool, which goes back when it is dropped.
pub(crate) type Lent<C> = Box<dyn DerefMut<Target = C> + Send>;

/// What this crate uses of a pool. The type of the pool's manager is left out, so
/// that `RunningJob` and `Worker` do not have it as a parameter.
pub(crate) trait Lends<C>: Send + Sync {
    fn lend(&self, timeout: Duration) -> Result<Lent<C>, r2d2::Error>;
    /// How many connections are open now.
    fn open(&self) -> u32;
    fn max_size(&self) -> u32;
    fn connection_timeout(&self) -> Duration;
}

impl<M: ManageConnection> Lends<M::Connection> for Pool<M> {
    fn lend(&self, timeout: Duration) -> Result<Lent<M::Connection>, r2d2::Error> {
        Ok(Box::new(self.get_timeout(timeout)?))
    }

    fn open(&self) -> u32 {
        self.state().connections
    }

    fn max_size(&self) -> u32 {
        self.max_size()
    }

    fn connection_timeout(&self) -> Duration {
        self.connection_timeout()
    }
}

/// A handle to any pool, cheap to clone.
pub(crate) struct AnyPool<C>(Arc<dyn Lends<C>>);

impl<C: 'static> AnyPool<C> {
    pub fn of<M: ManageConnection<Connection = C>>(pool: &Pool<M>) -> Self {
        Self(Arc::new(pool.clone()))
    }
}

impl<C> Clone for AnyPool<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: 'static> Deref for AnyPool<C> {
    type Target = dyn Lends<C>;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}
