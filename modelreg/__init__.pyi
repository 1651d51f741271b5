from modelreg.api import Model as Model
from modelreg.api import Predictions as Predictions
from modelreg.api import Summary as Summary
from modelreg.api import Timeline as Timeline
from modelreg.api import load as load
from modelreg.api import verify as verify
from modelreg.api import versions as versions
from modelreg.errors import InputError as InputError
from modelreg.errors import ModelregError as ModelregError
from modelreg.errors import Notice as Notice
from modelreg.errors import Problem as Problem
from modelreg.errors import RegistryError as RegistryError
from modelreg.errors import VerificationFailed as VerificationFailed
from modelreg.records.model import Channel as Channel
from modelreg.verification.verify import Verification as Verification

__version__: str
