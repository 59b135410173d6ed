"""What a person knows about their table: its columns in, numbers for a model out. The one file to change for that.

Nothing is needed here: a table that BY_HAND does not name goes by its declaration (declared_features.py). To do better,
write a function, and name it in BY_HAND under the `name` of dataset.yaml. It gets the declaration and whether the model
wants columns of one scale (the linear ones do), and gives a ColumnTransformer, not fitted; the columns that this names,
all with the role feature, are those that the model reads. It is fitted on the rows trained on alone. Take stock parts
of scikit-learn and functions of numpy, among them those of declared_features.py: a model that holds other code is not
saved. GROUPS_BY_HAND says in the same way which rows belong together (a number for each, the same for those that do),
where that is more than the one column that the declaration can name as `group`.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from table import Table

BY_HAND: dict[str, Callable[[Table, bool], ColumnTransformer]] = {}
GROUPS_BY_HAND: dict[str, Callable[[pd.DataFrame], np.ndarray]] = {}
