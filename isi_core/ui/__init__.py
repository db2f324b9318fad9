"""What several pages share; the only place in the package that imports Streamlit."""
