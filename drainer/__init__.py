"""drainer: a Celery worker lifecycle and drain manager for Airflow on Kubernetes."""

__version__ = "0.1.0"
