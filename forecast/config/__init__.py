"""The configuration: YAML files as typed models, and the paths of a project.

    datasets, sources, task    datasets.yaml; settings of sources; the part of a dataset for models
    transforms                 the transforms of columns and their inverses
    models                     models.yaml, tuning.yaml, evaluation.yaml
    operation                  retraining.yaml, schedule.yaml, experiments.yaml
    reading                    YAML to frozen models; every fault is an `InputError`
    paths                      files and folders of a project
    usual_names                names of models in the field, for the message about an unknown one

Only `system` is a lower layer. This package reads no data, and does not know the options of a
family.
"""
