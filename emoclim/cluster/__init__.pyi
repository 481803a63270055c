from .contract import Engine as Engine
from .contract import Running as Running
from .engines.opening import open_engine as open_engine
from .supervising import run_tasks as run_tasks
from .tasks import Job as Job
from .tasks import TaskFolder as TaskFolder
