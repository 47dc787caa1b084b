"""A teacher scores audio, on one machine or many, and nothing is lost.

The corpus is divided into parts that are labelled one by one:

* a ``Shard`` is a share of the corpus and, once labelled, one file of the store,
* a ``Labeller`` is a teacher with what it takes to label shards, and gives
  ``Labelled`` results,
* a ``Worker`` is a labeller in a process of its own, replaced when it dies,
* an ``Engine`` says where this happens: in this process, in several or on a cluster,
* the ``LabelStore`` keeps the results and knows what is done.
"""
