"""The configuration: YAML files as typed models, and the paths of a project.

    datasets, sources, task    datasets.yaml; what a source says of itself; what a model needs of it
    transforms                 by which a column is modelled, with their inverses
    models                     models.yaml, tuning.yaml, evaluation.yaml
    operation                  retraining.yaml, schedule.yaml, experiments.yaml
    reading                    YAML → frozen model; every fault one `InputError`
    paths                      every file and folder of a project

The lowest room but `system`: it reads configurations and no data, and knows no family's options.
"""
